"""The floors of a run: conventional methods over the same kind of net, which a meta-learned method must beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from quickstudy import registry
from quickstudy.core import chance
from quickstudy.core.learner import MetaLearner, tags_of
from quickstudy.core.settings import load, owner_of
from quickstudy.core.workers import Workers
from quickstudy.train.loop import Step, fit
from quickstudy.train.run import Run, RunSettings, build_method, training_source
from quickstudy.train.settings import Training
from quickstudy.train.state import load_weights, weights_of

__all__ = ["CONVENTIONAL", "conventional_run", "make_floors"]

CONVENTIONAL = Training(steps=1000, batch=16, rate=2e-3, schedule="cosine")
"""How the conventional net is trained unless one says otherwise: 128 examples a step over all training classes."""

Progress = Callable[[Step], None]


def make_floors(
    run: RunSettings,
    folder: Path,
    training: Training = CONVENTIONAL,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> Iterator[tuple[str, MetaLearner]]:
    """The floors of `quickstudy.registry.FLOORS` that suit the tasks, by name, ready to be evaluated.

    Args:
        run: Whose tasks and net they share.
        folder: Where the conventionally trained net is kept, as a run of its own; one that is there is used again.
        training: How that net is trained.
        progress: Called after each of its steps.
        workers: Who trains it together. A flat batch cannot be shared, so that it takes as long as by one; but all have
            the same weights.
    """
    weights: dict[str, Any] = {}
    values = run.tasks.source("train", training.seed).likelihood == "gaussian"
    for name, entry in registry.FLOORS.items():
        settings: dict[str, Any] = dict(entry["settings"])  # type: ignore[call-overload]
        method = load("method", {"name": entry["method"], **settings})
        if values and not tags_of(method).regression:
            continue
        net = load("net", str(entry["net"])) if "net" in entry else _comparable(run)
        floor = dataclasses.replace(run, method=method, net=net, train={}, training=training)
        built = build_method(floor)
        if entry["trained"]:
            weights = weights or weights_of(conventional_run(floor, folder, progress, workers))
            load_weights(built, weights)
        yield name, built


def _comparable(run: RunSettings) -> Any:
    """A net as able as the run's own; None for the usual one, where a method reads vectors by layers of its own.

    The net of such a run is "flatten", and a floor on it would be a straight line.
    """
    own = owner_of(run.method).tags.vectors
    return None if own != "mlp" and run.net is not None and owner_of(run.net) is registry.get("net", own) else run.net


def conventional_run(
    floor: RunSettings, folder: Path, progress: Progress | None = None, workers: Workers | None = None
) -> MetaLearner:
    """The method of a floor, trained conventionally in a run of its own; gone on with or read where there is one."""
    plain = floor.plain()
    folder = folder / chance.fingerprint({name: plain[name] for name in ("tasks", "net", "training")})
    workers = workers or Workers()
    run = Run.shared(folder, floor, workers)
    state, _ = workers.first_then_others(run.resume)
    if not state.over:
        for step in fit(state.method, training_source(run.settings), state=state, workers=workers):
            if progress is not None:
                progress(step)
        run.save(state)
    return state.method
