"""Small bundles for the tests of bundles."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from quickstudy import Bundle
from quickstudy.checks import Subject, cases
from quickstudy.core.episode import Episode
from quickstudy.core.settings import load
from quickstudy.encoders import VectorEncoder
from quickstudy.train.parts import Parts
from quickstudy.train.run import Run, RunSettings, build_method
from quickstudy.train.settings import Training
from quickstudy.train.state import TrainState

WAYS, POOL_CLASSES = 5, 40


def subject_of(name: str, kind: str = "", **chosen: Any) -> Subject:
    """The toy subject of a method, for the kind of task asked for, or the first that it learns."""
    found = [case.subject for case in cases(name, chosen, only=["purity"])]
    return next(each for each in found if kind in ("", each.kind))


def bundle_of(subject: Subject, **more: Any) -> Bundle:
    """The bundle of a toy subject's method, with weights away from special values."""
    classes = subject.kind == "categorical"
    outputs, pool_outputs = (WAYS, POOL_CLASSES) if classes else (1, 1)
    pooled = "pool_outputs" in inspect.signature(inspect.unwrap(subject.cls.__init__)).parameters
    return Bundle(
        subject.build(dtype=torch.float32),
        VectorEncoder(item=subject.item),
        name="toy",
        outputs=outputs,
        likelihood=subject.kind,
        parts=Parts(subject.chosen, subject.net, subject.item, outputs, pool_outputs if pooled else None),
        **more,
    )


def episode_of(subject: Subject, number: int = 0, ways: int = WAYS) -> Episode:
    """One toy task, in float32."""
    batch = subject.episodes([number], torch.float32, ways)
    return Episode(*(type(part)(*(field[0] for field in part)) for part in batch))


def labels_of(episode: Episode) -> Any:
    """What examples are labelled with, as bundles take it: the numbers of classes, or values."""
    y = episode.support.y
    return y.int().argmax(-1).tolist() if y.dtype == torch.bool else y


def toy(name: str, **more: Any) -> tuple[Bundle, Subject]:
    """A toy bundle of classes, by the name of its method."""
    subject = subject_of(name, "categorical")
    return bundle_of(subject, **more), subject


def glyphs_run(folder: Path, method: str = "protonet", **net: Any) -> Run:
    """A run on glyphs as `train` leaves it behind, its weights as they start."""
    settings = RunSettings(
        method=load("method", {"name": method, **({"learn_temperature": True} if method == "protonet" else {})}),
        tasks=load("tasks", {"name": "glyphs", "queries": 3}),
        net=load("net", net or {"name": "mlp", "hidden": [8]}),
        training=Training(steps=2, batch=2),
    )
    run = Run.create(folder, settings)
    run.save(TrainState(build_method(settings), settings.training))
    return run
