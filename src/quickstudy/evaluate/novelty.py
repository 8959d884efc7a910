"""Queries that belong to no class of the support: how well what a learner says gives them away.

A familiarity is high where a query seems to be of one of the support's classes. Several are known, each of them made of
predictions alone, so they exist for every classifier; which of them serves a method best, and below which value a query
is flagged, is settled on validation tasks. Foreign queries are those of another episode, of classes that it does not
share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.core import tree
from quickstudy.core.denormals import without_denormals
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import over_tasks, plan
from quickstudy.core.predictions import Categorical, Mixture, Prediction, at_temperature
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import TaskError
from quickstudy.evaluate.evaluate import batches, evaluating
from quickstudy.evaluate.record import Novelty
from quickstudy.tasks.source import TaskSource

__all__ = [
    "KEPT",
    "OVER",
    "Detector",
    "Familiarity",
    "Heard",
    "auroc",
    "calibrated",
    "familiarities",
    "familiarity",
    "familiarity_of",
    "heard",
    "measured",
    "plain_familiarities",
    "usual",
]

KEPT = 0.95
"""Of queries that do belong to the support's classes, the fraction that is not flagged."""

OVER = " over support"
"""What the name of a score ends in that is taken without what is usual on the support."""

Scores = dict[str, NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class Detector:
    """Which familiarity is asked, and below which value a query is flagged."""

    score: str
    threshold: float
    auroc: float
    """On the validation tasks that chose it."""

    def margin(self, said: Prediction, at_support: Prediction, mask: Tensor) -> Float[Tensor, " n"]:
        """How far each query is above the threshold; below 0 it is flagged."""
        return familiarities(said, at_support, mask)[self.score] - self.threshold


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """Every familiarity of the queries of some episodes."""

    own: Scores
    """Of queries of the episodes' own classes, [n] each."""
    foreign: Scores
    """Of queries of other classes."""


class Heard(NamedTuple):
    """What a method says of some episodes [t]: each part with a leading axis of tasks."""

    of_support: Prediction
    of_queries: Prediction
    of_others: Prediction
    """Of the next episode's queries."""
    of_examples: Bool[Tensor, "t m"]
    """Which of the support are not padding."""
    y: Shaped[Tensor, "t n k"]
    """The classes of the queries."""
    own: Bool[Tensor, "t n"]
    """Which of the queries are not padding."""
    foreign: NDArray[np.bool_]
    """Which of the next episode's are not, and of classes that the episode does not have."""


def familiarities(said: Prediction, at_support: Prediction, mask: Tensor) -> dict[str, Float[Tensor, " n"]]:
    """What is known of each query, by the name of the score.

    - probability: of the most likely class (Hendrycks and Gimpel 2017);
    - certainty: the negative entropy of the probabilities;
    - logit: the greatest one (Hendrycks et al. 2022); with prototypes, minus the distance of the nearest;
    - energy: the logarithm of the sum of exponentiated logits (Liu et al. 2020);
    - logit over support, energy over support: without the mean of what the learner says of its own support, which
      differs from task to task.

    Where a prediction is a mixture, logits are the members' weighted mean; one without logits has the first two alone.

    Args:
        said: Of the queries.
        at_support: Of the support's own examples.
        mask: Which of these are not padding.
    """
    plain, level = plain_familiarities(said), usual(at_support, mask)
    found = {name: plain[name] for name in ("probability", "certainty")}
    for name in level:
        found |= {name: plain[name], name + OVER: plain[name] - level[name]}
    return found


def plain_familiarities(said: Prediction) -> dict[str, Float[Tensor, " n"]]:
    """The scores of `familiarities` that the queries alone determine: those without "over support"."""
    p = said.mean.clamp(min=1e-12)
    logits = _logits(said)
    of_logits = {} if logits is None else {name: score(logits) for name, score in _OF_LOGITS.items()}
    return {"probability": p.amax(-1), "certainty": (p * p.log()).sum(-1), **of_logits}


def usual(at_support: Prediction, mask: Tensor) -> dict[str, Float[Tensor, ""]]:
    """The mean of each score of logits on the support: what those "over support" are without. Empty without logits."""
    logits = _logits(at_support)
    if logits is None:
        return {}
    return {
        name: torch.where(mask, score(logits), 0.0).sum() / mask.sum().clamp(min=1)
        for name, score in _OF_LOGITS.items()
    }


def _greatest(logits: Tensor) -> Tensor:
    return logits.amax(-1)


def _energy(logits: Tensor) -> Tensor:
    return logits.logsumexp(-1)


_OF_LOGITS: dict[str, Callable[[Tensor], Tensor]] = {"logit": _greatest, "energy": _energy}


def _logits(said: Prediction) -> Float[Tensor, "n k"] | None:
    if isinstance(said, Categorical):
        return said.logits
    if isinstance(said, Mixture) and isinstance(said.parts, Categorical):
        # a class that is ruled out is so by all members
        mean: Tensor = torch.tensordot(said.log_weight.softmax(0), said.parts.logits.clamp(min=-1e30), 1)
        return mean
    return None


def familiarity(method: MetaLearner, source: TaskSource, episodes: int, temperature: float = 1.0) -> Familiarity:
    """Every familiarity of the queries of the first `episodes` of a source, and of as many foreign ones.

    Args:
        method: A classifier. It is put in evaluation mode meanwhile.
        source: Tasks of classes.
        episodes: How many.
        temperature: At which all that it says is taken.

    Raises:
        TaskError: the source has no classes, or no two of its successive episodes have different ones.
    """
    return familiarity_of(heard(method, source, episodes), temperature)


@without_denormals()
def heard(method: MetaLearner, source: TaskSource, episodes: int) -> list[Heard]:
    """What a method says of the first `episodes` of a source and of as many foreign queries, a batch at a time.

    Raises:
        TaskError: as `familiarity`.
    """
    found: list[Heard] = []

    def say(episode: Episode, others: Examples, *noise: Tensor) -> tuple[Prediction, ...]:
        learner = method.adapt(episode.support, *noise)
        return tuple(method.predict(learner, part.x) for part in (episode.support, episode.query, others))

    with evaluating(method), torch.no_grad():
        for indices, drawn, batch, noise in batches(method, source, episodes, source.digest(range(episodes))):
            classes = source.classes(indices)
            if classes is None:
                raise TaskError(f"{type(source).__name__} has no classes, so no query is of another.")
            others = tree.map_leaves(lambda leaf: leaf.roll(-1, 0), batch.query)
            how, chunk = plan(method, batch, *noise)
            support, query, other = over_tasks(say, batch, others, *noise, how=how, chunk=chunk)
            foreign = _other_classes(drawn, classes)
            found.append(Heard(support, query, other, batch.support.mask, batch.query.y, batch.query.mask, foreign))
    if not any(each.foreign.any() for each in found):
        raise TaskError(
            f"all {episodes} episodes of these tasks share their classes; a query of another class needs tasks of "
            "fewer ways, or more classes."
        )
    return found


def familiarity_of(found: Sequence[Heard], temperature: float = 1.0) -> Familiarity:
    """Every familiarity of what was said, at a temperature."""
    own: list[Scores] = []
    foreign: list[Scores] = []

    def scores(mask: Tensor, *said: Prediction) -> Any:
        of_support, *asked = (at_temperature(each, temperature) for each in said)
        return tuple(familiarities(each, of_support, mask) for each in asked)

    for each in found:
        said = each.of_support, each.of_queries, each.of_others
        both = over_tasks(scores, each.of_examples, *said, how="map")
        masks = each.own.cpu().numpy(), each.foreign
        for kept, values, mask in zip((own, foreign), both, masks, strict=True):
            kept.append({name: score.cpu().double().numpy()[mask] for name, score in values.items()})
    return Familiarity(_joined(own), _joined(foreign))


def calibrated(found: Familiarity) -> Detector:
    """The familiarity that tells these queries apart best, with the threshold that keeps `KEPT` of the own ones."""
    told = {name: auroc(each, found.foreign[name]) for name, each in found.own.items()}
    best = max(told, key=lambda name: told[name])
    return Detector(best, float(np.quantile(found.own[best], 1 - KEPT)), told[best])


def measured(detector: Detector, found: Familiarity) -> Novelty:
    """How a detector does on other tasks than those that it was calibrated on."""
    own, foreign = found.own[detector.score], found.foreign[detector.score]
    return Novelty(
        score=detector.score,
        threshold=detector.threshold,
        auroc=auroc(own, foreign),
        kept=float((own >= detector.threshold).mean()),
        flagged=float((foreign < detector.threshold).mean()),
    )


def auroc(own: NDArray[np.float64], foreign: NDArray[np.float64]) -> float:
    """The probability that an own query is more familiar than a foreign one; equal ones count half."""
    ordered = np.sort(foreign)
    below, upto = (np.searchsorted(ordered, own, side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(ordered)))


def _other_classes(drawn: Episode, classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the next episode's queries are of classes that an episode does not have, [t, n]."""
    query = drawn.query
    labels = query.y.int().argmax(-1).numpy()
    of_each = np.take_along_axis(classes, labels, axis=1)
    shifted, mask = np.roll(of_each, -1, axis=0), np.roll(query.mask.numpy(), -1, axis=0)
    shared = (shifted[:, :, None] == classes[:, None]).any(-1)
    found: NDArray[np.bool_] = mask & ~shared
    return found


def _joined(parts: list[Scores]) -> Scores:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
