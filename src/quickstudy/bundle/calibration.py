"""What a method says, calibrated on validation tasks for tasks of some sizes: how sure it should be, and below which
familiarity a query is of no class of the support."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from quickstudy.bundle.learner import Cutoff
from quickstudy.core import chance, files
from quickstudy.core.learner import MetaLearner
from quickstudy.errors import QuickstudyError
from quickstudy.evaluate.novelty import OVER, Detector, Familiarity, calibrated, familiarity_of, heard
from quickstudy.evaluate.temperature import likeliest
from quickstudy.tasks.source import Tasks, TaskSource
from quickstudy.train.run import Run

__all__ = ["EPISODES", "SIZES", "Calibration", "cutoff", "nearest", "of_run", "of_sizes"]

EPISODES, FEWEST = 128, 32
"""Validation tasks that are asked for a size: the most, and the fewest where they have many classes."""
QUERIES = 5
"""Queries of a class in each."""
ENOUGH = 3200
"""Queries of all tasks: with as many, a threshold that keeps 95 of 100 is right to 0.4 of 100 (a standard error)."""
WORTH = 0.005
"""What a score that is taken over the support must gain in AUROC to be chosen."""
KEPT_IN = "calibration.json"
"""The file in a run's folder that keeps what was found."""
SIZES = ((2, 1), (2, 5), (5, 1), (5, 5), (10, 5), (20, 5))
"""Ways and shots that a bundle is calibrated for, unless others are asked for; tasks of others take the nearest."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was found for tasks of one size."""

    ways: int
    shots: int
    detector: Detector
    """Of predictions at that temperature."""
    temperature: float = 1.0
    """At which queries are likeliest; 1 for predictions that have none."""

    @property
    def relative(self) -> bool:
        """Whether the threshold is taken without what is usual on the support."""
        return self.detector.score.endswith(OVER)


def nearest(found: Sequence[Calibration], ways: int | None, shots: int) -> Calibration | None:
    """The calibration for tasks of the most similar size, by ratios; None where there is none, or for real values."""
    if ways is None:
        return None

    def apart(each: Calibration) -> float:
        return abs(math.log(each.ways / ways)) + abs(math.log(each.shots / shots))

    return min(found, key=apart, default=None)


def cutoff(found: Calibration | None, levels: dict[str, float]) -> Cutoff | None:
    """What is foreign to a learner of a support with these levels; None where nobody can say."""
    if found is None:
        return None
    score = found.detector.score.removesuffix(OVER)
    return Cutoff(score, found.detector.threshold + (levels[score] if found.relative else 0.0))


def of_run(run: Run, step: int, method: MetaLearner, sizes: Sequence[tuple[int, int]]) -> tuple[Calibration, ...]:
    """What is found for tasks of these (ways, shots), as far as the run's validation classes allow."""
    found = []
    for ways, shots in sizes:
        made = of_sizes(run, method, step, {"ways": ways, "shots": shots})
        if made is not None:
            found.append(Calibration(ways, shots, *made))
    return tuple(found)


def of_sizes(run: Run, method: MetaLearner, step: int, sizes: dict[str, Any]) -> tuple[Detector, float] | None:
    """The detector and the temperature for tasks of these sizes, from the run's folder or found now and kept there.

    Args:
        run: Whose validation tasks are asked.
        method: The trained method.
        step: The training step of its weights: what is found is of these weights alone.
        sizes: Ways and shots of the tasks. Where validation has too few classes for them, the run's own are taken.

    Returns:
        None where there are no validation tasks, or a method for real values.
    """
    for source in _sources(run, sizes):
        episodes = max(FEWEST, min(EPISODES, ENOUGH // (QUERIES * source.outputs)))
        name = chance.fingerprint(source.fingerprint, step, episodes)
        kept = _kept(run)
        if name not in kept:
            try:
                said = heard(method, source, episodes)
            except QuickstudyError:  # too few classes for such tasks, or for foreign ones
                continue
            temperature = likeliest([(each.of_queries, each.y, each.own) for each in said]) or 1.0
            chosen = _chosen(familiarity_of(said, temperature))
            kept[name] = dataclasses.asdict(chosen) | {"temperature": temperature}
            if run.writes:
                with contextlib.suppress(QuickstudyError):  # a folder that may only be read
                    files.write(run.folder / KEPT_IN, json.dumps(kept, indent=1) + "\n")
        told = dict(kept[name])
        temperature = told.pop("temperature")
        return Detector(**told), temperature
    return None


def _chosen(found: Familiarity) -> Detector:
    """The detector that tells these queries apart best, or one that is as good and needs no prediction of the support:
    adapting takes about half as long then, where it is a pass through a net."""
    best = calibrated(found)
    own, foreign = (
        {name: each for name, each in scores.items() if not name.endswith(OVER)}
        for scores in (found.own, found.foreign)
    )
    plain = calibrated(Familiarity(own, foreign))
    return plain if plain.auroc > best.auroc - WORTH else best


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
    """What the run's folder holds, by what determines it; nothing where the file cannot be understood."""
    try:
        found: dict[str, Any] = json.loads((run.folder / KEPT_IN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    fields = {field.name for field in dataclasses.fields(Detector)} | {"temperature"}
    return {name: each for name, each in found.items() if isinstance(each, dict) and each.keys() == fields}
