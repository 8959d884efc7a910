"""The detector of foreign queries that belongs to a run: calibrated on validation tasks, kept in its folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from quickstudy.core import chance, files
from quickstudy.core.learner import MetaLearner
from quickstudy.errors import QuickstudyError
from quickstudy.evaluate.novelty import Detector, calibrated, familiarity
from quickstudy.tasks.source import Tasks, TaskSource
from quickstudy.train.run import Run

__all__ = ["EPISODES", "detector"]

EPISODES = 128
"""Validation tasks that a detector is calibrated on."""
QUERIES = 5
"""Queries of a class in each."""


def detector(run: Run, method: MetaLearner, step: int, sizes: dict[str, Any]) -> Detector | None:
    """The detector for tasks of these sizes, from the run's folder or calibrated now and kept there.

    Args:
        run: Whose validation tasks calibrate it.
        method: The trained method.
        step: The training step of its weights: a detector is of these weights alone.
        sizes: Ways and shots of the tasks. Where validation has too few classes for them, the run's own are taken.

    Returns:
        None where there are no validation tasks, or a method for real values.
    """
    for source in _sources(run, sizes):
        name = chance.fingerprint(source.fingerprint, step, EPISODES)
        kept = _kept(run)
        if name not in kept:
            try:
                kept[name] = dataclasses.asdict(calibrated(familiarity(method, source, EPISODES)))
            except QuickstudyError:  # too few classes for such tasks, or for foreign ones
                continue
            if run.writes:
                files.write(run.folder / "novelty.json", json.dumps(kept, indent=1) + "\n")
        return Detector(**kept[name])
    return None


def _sources(run: Run, sizes: dict[str, Any]) -> Iterator[TaskSource]:
    family: Any = run.settings.tasks
    known = {field.name for field in dataclasses.fields(family)}
    few = {"queries": QUERIES} if "queries" in known else {}
    asked = {name: size for name, size in sizes.items() if name in known and size is not None}
    for changes in (asked | few, few):
        try:
            tasks: Tasks = dataclasses.replace(family, **changes)
            source = tasks.source("val")
        except QuickstudyError:
            continue
        if source.likelihood == "categorical":
            yield source


def _kept(run: Run) -> dict[str, Any]:
    """The detectors in the run's folder, by what determines them; none where the file cannot be understood."""
    try:
        found: dict[str, Any] = json.loads((run.folder / "novelty.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    fields = {field.name for field in dataclasses.fields(Detector)}
    return {name: each for name, each in found.items() if isinstance(each, dict) and each.keys() == fields}
