"""Where a bundle comes from: the run whose method it holds, and what is written down of its training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import torch

import quickstudy
from quickstudy.core.learner import MetaLearner
from quickstudy.core.predictions import Likelihood
from quickstudy.core.settings import dump
from quickstudy.encoders import Encoder, ImageEncoder, VectorEncoder
from quickstudy.encoders.image import strokes_on_dark
from quickstudy.errors import QuickstudyError, SettingsError
from quickstudy.evaluate.record import Record
from quickstudy.tasks.source import TaskSource
from quickstudy.train.parts import Parts
from quickstudy.train.run import Run, parts_of

__all__ = ["Origin", "of_run"]


class Origin(NamedTuple):
    """What a run has to give."""

    method: MetaLearner
    parts: Parts
    encoder: Encoder
    likelihood: Likelihood
    labels: list[str]
    provenance: dict[str, Any]


def of_run(run: Run, encoder: Encoder | None = None) -> Origin:
    """The trained method of a run, and all that a bundle says of it.

    Raises:
        CheckpointError: the run has nothing saved, or nothing that can be read.
        SettingsError: the encoder makes items of another shape.
    """
    settings = run.settings
    method, scalars = run.method()
    source = settings.tasks.source("train", settings.training.seed)
    parts = parts_of(settings)
    encoder = usual_encoder(source) if encoder is None else encoder
    if encoder.item != source.item:
        raise SettingsError(
            f"the encoder makes items of shape {list(encoder.item)}; {run.folder} was trained on {list(source.item)}. "
            "Choose the encoder that made what it was trained on."
        )
    return Origin(method, parts, encoder, source.likelihood, source.class_names, _told(run, scalars))


def usual_encoder(source: TaskSource) -> Encoder:
    """The encoder for items like those of a source: pictures, or numbers as they are."""
    if len(source.item) != 3 or source.item[0] not in (1, 3):
        return VectorEncoder(item=source.item)
    pixels = source.batch([0]).support.x[0]
    if pixels.dtype == torch.uint8 and strokes_on_dark(pixels.numpy()):
        return ImageEncoder(item=source.item, invert="paper")
    return ImageEncoder(item=source.item)


def _told(run: Run, scalars: dict[str, Any]) -> dict[str, Any]:
    settings = run.settings
    training = {name: dump(value) for name, value in vars(settings.training).items()}
    return {
        "quickstudy": quickstudy.__version__,
        "torch": str(torch.__version__),
        "tasks": _without_paths(settings.tasks, dump(settings.tasks)) | {"train": dump(settings.train)},
        "data": run.episodes,
        "training": _without_paths(settings.training, training) | _figures(scalars),
        "evaluation": _evaluation(run, scalars["number"]),
    }


def _figures(scalars: dict[str, Any]) -> dict[str, Any]:
    names = {"number": "step", "seconds": "seconds", "validation": "validation"}
    return {names[name]: value for name, value in scalars.items() if name in names}


def _without_paths(chosen: Any, plain: dict[str, Any]) -> dict[str, Any]:
    """Settings without the places that they name on the machine they were made on."""
    places = {name for name in plain if isinstance(getattr(chosen, name, None), Path) or name == "start"}
    return {name: value for name, value in plain.items() if name not in places}


def _evaluation(run: Run, step: int) -> dict[str, Any] | None:
    """How these weights did on test tasks, where they have been evaluated."""
    try:
        record = Record.read(run.folder / "evaluation.json")
    except (QuickstudyError, OSError):
        return None
    if record.run.steps != step:
        return None
    asked = dataclasses.asdict(record.protocol)
    told = {name: asked[name] for name in ("split", "ways", "shots", "queries", "episodes", "seed", "digest")}
    result = {name: getattr(record.result, name) for name in ("metric", "mean", "low", "high")}
    return told | result
