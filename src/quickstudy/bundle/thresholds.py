"""Which queries are of no class of the support: thresholds calibrated on validation tasks, for tasks of some sizes."""

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
from quickstudy.evaluate.novelty import OVER, Detector, Familiarity, calibrated, familiarity
from quickstudy.tasks.source import Tasks, TaskSource
from quickstudy.train.run import Run

__all__ = ["EPISODES", "SIZES", "Threshold", "cutoff", "detector", "nearest", "of_run"]

EPISODES, FEWEST = 128, 32
"""Validation tasks that a detector is calibrated on: the most, and the fewest where they have many classes."""
QUERIES = 5
"""Queries of a class in each."""
ENOUGH = 3200
"""Queries of all tasks: with as many, a threshold that keeps 95 of 100 is right to 0.4 of 100 (a standard error)."""
WORTH = 0.005
"""What a score that is taken over the support must gain in AUROC to be chosen."""
SIZES = ((2, 1), (2, 5), (5, 1), (5, 5), (10, 5), (20, 5))
"""Ways and shots that a bundle is calibrated for, unless others are asked for; tasks of others take the nearest."""


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The detector for tasks of one size."""

    ways: int
    shots: int
    detector: Detector

    @property
    def relative(self) -> bool:
        """Whether it is taken without what is usual on the support."""
        return self.detector.score.endswith(OVER)


def nearest(known: Sequence[Threshold], ways: int, shots: int) -> Threshold | None:
    """The threshold for tasks of the most similar size, by ratios; None where there is none."""

    def apart(each: Threshold) -> float:
        return abs(math.log(each.ways / ways)) + abs(math.log(each.shots / shots))

    return min(known, key=apart, default=None)


def cutoff(known: Sequence[Threshold], ways: int | None, shots: int, levels: dict[str, float]) -> Cutoff | None:
    """What is foreign to a learner of a support with these sizes and levels; None where nobody can say."""
    found = None if ways is None else nearest(known, ways, shots)
    if found is None:
        return None
    score = found.detector.score.removesuffix(OVER)
    return Cutoff(score, found.detector.threshold + (levels[score] if found.relative else 0.0))


def of_run(run: Run, step: int, method: MetaLearner, sizes: Sequence[tuple[int, int]]) -> tuple[Threshold, ...]:
    """The thresholds for tasks of these (ways, shots), as far as the run's validation classes allow."""
    found = []
    for ways, shots in sizes:
        made = detector(run, method, step, {"ways": ways, "shots": shots})
        if made is not None:
            found.append(Threshold(ways, shots, made))
    return tuple(found)


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
        episodes = max(FEWEST, min(EPISODES, ENOUGH // (QUERIES * source.outputs)))
        name = chance.fingerprint(source.fingerprint, step, episodes)
        kept = _kept(run)
        if name not in kept:
            try:
                kept[name] = dataclasses.asdict(_chosen(familiarity(method, source, episodes)))
            except QuickstudyError:  # too few classes for such tasks, or for foreign ones
                continue
            if run.writes:
                with contextlib.suppress(QuickstudyError):  # a folder that may only be read
                    files.write(run.folder / "novelty.json", json.dumps(kept, indent=1) + "\n")
        return Detector(**kept[name])
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
    """The detectors in the run's folder, by what determines them; none where the file cannot be understood."""
    try:
        found: dict[str, Any] = json.loads((run.folder / "novelty.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    fields = {field.name for field in dataclasses.fields(Detector)}
    return {name: each for name, each in found.items() if isinstance(each, dict) and each.keys() == fields}
