"""Adapt to test episodes, predict their queries, and keep every figure. Test splits are touched only here.

Nothing is recorded for gradients beyond what `adapt` itself does, and no method is known by name.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.core import chance, tree
from quickstudy.core.denormals import without_denormals
from quickstudy.core.episode import Episode, to_device
from quickstudy.core.how import AskedHow
from quickstudy.core.learner import MetaLearner, Stepwise
from quickstudy.core.lift import Plan, over_tasks, plan
from quickstudy.core.predictions import Metric, Ordered, Prediction, Tempered
from quickstudy.core.workers import Arrays, Workers
from quickstudy.errors import MethodError, SettingsError, TaskError
from quickstudy.evaluate.protocol import Protocol
from quickstudy.evaluate.record import Result
from quickstudy.evaluate.statistics import class_bootstrap, t_interval
from quickstudy.tasks.source import TaskSource

__all__ = [
    "LEVELS",
    "Answers",
    "Progress",
    "answer",
    "batches",
    "draw",
    "evaluate",
    "evaluating",
    "noise_for",
    "place_of",
    "result",
]

Progress = Callable[[int, int], None]
"""Called with the number of episodes done and their total."""

LEVELS = (0.5, 0.9, 0.95)
"""Probabilities of the central intervals of real values that are measured."""

BATCH = 64
"""Episodes drawn at a time. Workers share whole batches, so that no figure depends on how many they are."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """Everything a method said of a list of episodes. `e` episodes, `n` queries of all of them that are not padding."""

    metric: Metric
    values: NDArray[np.float64]
    """The mean score of each episode's queries, [e]."""
    classes: NDArray[np.int64] | None
    """The classes of each episode, [e, ways], -1 where it has fewer; None for regression."""
    score: NDArray[np.float64]
    """Accuracy (0 or 1) or squared error of each query, [n]."""
    nll: NDArray[np.float64]
    """Negative log-likelihood of each query, in nats, [n]."""
    confidence: NDArray[np.float64]
    """Probability of the most likely class, [n]; nan for regression."""
    brier: NDArray[np.float64]
    """Squared distance of the probabilities from the one-hot truth, [n]; nan for regression."""
    seconds: float
    """Wall-clock time of adapting and predicting, without drawing the episodes; of all workers together."""
    digest: str
    """Of the episodes."""
    inside: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty((0, 0)))
    """Of each of `LEVELS`, the fraction of each query's values in that central interval, [levels, n]; empty for classes
    and for predictions that say no intervals."""
    width: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty((0, 0)))
    """How wide those intervals are, [levels, n]; empty likewise."""
    tempered: Answers | None = None
    """The same predictions at another temperature, where one was asked for."""


def evaluate(
    method: MetaLearner,
    protocol: Protocol | TaskSource,
    *,
    name: str | None = None,
    episodes: int | None = None,
    steps: int | None = None,
    batch: int = BATCH,
    device: torch.device | str | None = None,
    how: AskedHow = "auto",
    chunk: int | None = None,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> Result:
    """How well a method learns the episodes of a protocol: `result` of `answer`, which explains the arguments."""
    said = answer(
        method,
        protocol,
        episodes=episodes,
        steps=steps,
        batch=batch,
        device=device,
        how=how,
        chunk=chunk,
        progress=progress,
        workers=workers,
    )
    return result(said, name or type(method).__name__)


def result(answers: Answers, name: str) -> Result:
    """The figures of a result: the mean, its interval over episodes and over classes, and every episode's value."""
    interval = t_interval(answers.values)
    classes = None if answers.classes is None else class_bootstrap(answers.values, answers.classes)
    return Result(
        name=name,
        metric=answers.metric,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        class_low=None if classes is None else classes.low,
        class_high=None if classes is None else classes.high,
        values=tuple(answers.values.tolist()),
        nll=float(answers.nll.mean()),
        seconds=answers.seconds,
        digest=answers.digest,
    )


def answer(
    method: MetaLearner,
    protocol: Protocol | TaskSource,
    *,
    episodes: int | None = None,
    steps: int | None = None,
    temperature: float | None = None,
    batch: int = BATCH,
    device: torch.device | str | None = None,
    how: AskedHow = "auto",
    chunk: int | None = None,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> Answers:
    """Let a method adapt to each episode and answer its queries.

    Args:
        method: Any meta-learner. It is put in evaluation mode meanwhile.
        protocol: What is asked, or a task source whose first `episodes` are.
        episodes: How many, for a source; a protocol says so itself.
        steps: Inner steps, for methods that adapt in steps; None leaves it to the method.
        temperature: What predictions are to be tempered by besides, such as `evaluate.temperature.fitted` finds.
        batch: Episodes drawn at a time.
        device: Where to run, and to leave the method; None stays where its parameters are.
        how: "map" or "loop" over tasks, as in `over_tasks`; "auto" maps what can be mapped, in chunks that suit the
            device.
        chunk: Episodes mapped at a time; None leaves it to `how="auto"`'s choice.
        progress: Called after every batch.
        workers: Who shares the batches; all of them return the same answers. None takes them alone.

    Raises:
        WorkersError: another worker is lost.
        SettingsError: steps for a method that has none, or episodes twice or not at all.
        MethodError: predictions of another kind than the tasks' targets.
    """
    source, count = _asked(protocol, episodes)
    if device is not None:
        method.to(device)
    session = _Session(method, source, steps, source.digest(range(count)), temperature)
    workers = workers or Workers()
    parts: list[_Part] = []
    with evaluating(method):
        for start in workers.share(range(0, count, batch)):
            for indices, drawn in draw(source, range(start, min(start + batch, count))):
                parts.append(session.run(indices, drawn, how, chunk))
                if progress is not None:
                    progress(indices.stop, count)
    return session.collect(_gathered(parts, workers))


@dataclasses.dataclass(frozen=True)
class _Part:
    """The answers to one batch of episodes of one shape."""

    start: int
    """The number of its first episode."""
    figures: NDArray[np.float64]
    """Score, nll, confidence, Brier score and what intervals say, [figures, t, queries]; twice with a temperature."""
    mask: NDArray[np.bool_]
    classes: NDArray[np.int64] | None
    seconds: float

    def arrays(self) -> Arrays:
        """Itself as arrays by name."""
        found: dict[str, NDArray[Any]] = {
            "figures": self.figures,
            "mask": self.mask,
            "seconds": np.array([self.seconds]),
        }
        if self.classes is not None:
            found["classes"] = self.classes
        return {f"{self.start}/{name}": array for name, array in found.items()}

    @classmethod
    def of(cls, start: int, arrays: Arrays) -> _Part:
        """The part that begins with this episode, among arrays of several."""
        figures, mask, seconds = (arrays[f"{start}/{name}"] for name in ("figures", "mask", "seconds"))
        return cls(start, figures, mask, arrays.get(f"{start}/classes"), seconds.item())


def _gathered(parts: list[_Part], workers: Workers) -> list[_Part]:
    """The parts of all workers in the order of their episodes."""
    if workers.count == 1:
        return parts
    given = workers.gather({name: array for part in parts for name, array in part.arrays().items()})
    starts = [(int(name.partition("/")[0]), each) for each in given for name in each if name.endswith("/mask")]
    return [_Part.of(start, each) for start, each in sorted(starts, key=lambda found: found[0])]


class _Session:
    """One method answering the episodes of one source."""

    def __init__(
        self, method: MetaLearner, source: TaskSource, steps: int | None, digest: str, temperature: float | None
    ) -> None:
        if steps is not None and not isinstance(method, Stepwise):
            raise SettingsError(
                f"steps={steps}: {type(method).__name__} does not adapt in steps. Leave steps out, or write "
                "`adapt_for(support, steps)` and an attribute `steps`."
            )
        self.method, self.source, self.steps, self.digest = method, source, steps, digest
        self.temperature = temperature
        self.metric: Metric = "accuracy" if source.likelihood == "categorical" else "mse"
        self.device, self.dtype = place_of(method)
        self.planned: dict[tuple[torch.Size, ...], Plan] = {}

    def adapt(self, episode: Episode, *noise: torch.Tensor) -> Any:
        """The learner of one task."""
        if self.steps is not None and isinstance(self.method, Stepwise):
            return self.method.adapt_for(episode.support, self.steps, *noise)
        return self.method.adapt(episode.support, *noise)

    def figures(self, episode: Episode, *noise: torch.Tensor) -> torch.Tensor:
        """What is kept of each query of one task, [figures, n]: as predicted, then tempered if that is asked for."""
        prediction = self.method.predict(self.adapt(episode, *noise), episode.query.x)
        if prediction.metric != self.metric:
            raise MethodError(
                f"{type(self.method).__name__} gives {type(prediction).__name__} predictions, measured by "
                f"{prediction.metric}, but these tasks are measured by {self.metric}. Give the method the tasks' "
                f"likelihood, {self.source.likelihood!r}."
            )
        found = [_figures(prediction, episode.query.y)]
        if self.temperature is not None:
            if not isinstance(prediction, Tempered):
                raise MethodError(
                    f"temperature={self.temperature:g}: {type(prediction).__name__} predictions have none. Leave it "
                    "out, or write `tempered(temperature)`."
                )
            found.append(_figures(prediction.tempered(self.temperature), episode.query.y))
        return torch.cat(found)

    @without_denormals()
    def run(self, indices: range, drawn: Episode, how: AskedHow, chunk: int | None) -> _Part:
        episodes = to_device(drawn, self.device, self.dtype)
        noise = noise_for(self.method, self.digest, indices)
        start = time.perf_counter()
        with torch.no_grad():  # not inference mode: a method may want gradients of its own
            # by shape, not once: the figures of a batch must not depend on which came before it
            shapes = tuple(leaf.shape for leaf in tree.leaves(episodes))
            if shapes not in self.planned:
                self.planned[shapes] = plan(self.method, episodes, *noise, how=how, chunk=chunk)
            way, at_once = self.planned[shapes]
            found = over_tasks(self.figures, episodes, *noise, how=way, chunk=at_once).cpu().double().numpy()
        seconds = time.perf_counter() - start
        mask, classes = drawn.query.mask.cpu().numpy(), self.source.classes(indices)
        return _Part(indices.start, found.transpose(1, 0, 2), mask, classes, seconds)

    def collect(self, parts: list[_Part]) -> Answers:
        rows = np.concatenate([part.figures[:, part.mask] for part in parts], axis=1)
        values = np.concatenate([_means(part.figures[0], part.mask) for part in parts])
        classes = _padded([part.classes for part in parts])
        seconds = sum(part.seconds for part in parts)

        def made(figures: NDArray[np.float64], tempered: Answers | None = None) -> Answers:
            score, nll, confidence, brier, *ordered = figures
            inside, width = np.array(ordered).reshape(2, -1, len(score)) if ordered else np.empty((2, 0, 0))
            return Answers(
                metric=self.metric,
                values=values,
                classes=classes,
                score=score,
                nll=nll,
                confidence=confidence,
                brier=brier,
                seconds=seconds,
                digest=self.digest,
                inside=inside,
                width=width,
                tempered=tempered,
            )

        if self.temperature is None:
            return made(rows)
        plain, tempered = np.split(rows, 2)
        return made(plain, made(tempered))


def _figures(prediction: Prediction, y: torch.Tensor) -> torch.Tensor:
    """Score, nll, confidence, Brier score and what intervals say of each query of one task, [figures, n]."""
    score, nll = prediction.score(y), prediction.nll(y)
    if prediction.metric == "mse":
        unknown = torch.full_like(score, math.nan)
        return torch.stack([score, nll, unknown, unknown, *_intervals(prediction, y)])
    p = prediction.mean
    return torch.stack([score, nll, p.amax(-1), (p - y.to(p.dtype)).square().sum(-1)])


def _intervals(prediction: Prediction, y: torch.Tensor) -> list[torch.Tensor]:
    """Of each level, the fraction of each query's values inside; then of each level, the mean width. [n] each."""
    if not isinstance(prediction, Ordered):
        return []
    ends = [(prediction.quantile(0.5 - level / 2), prediction.quantile(0.5 + level / 2)) for level in LEVELS]
    inside = [((low <= y) & (y <= high)).to(y.dtype).flatten(1).mean(1) for low, high in ends]
    return inside + [(high - low).flatten(1).mean(1) for low, high in ends]


def place_of(method: MetaLearner) -> tuple[torch.device, torch.dtype]:
    """Where a method's parameters live, and in which floating type its inputs are to come."""
    parameter = next((p for p in method.parameters() if p.is_floating_point()), torch.empty(0))
    return parameter.device, parameter.dtype


def noise_for(method: MetaLearner, digest: str, indices: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """What `adapt` of a method with `noise_size` takes, [t, size]: one stream for each episode of a digest."""
    if not method.noise_size:
        return ()
    return (chance.noise(chance.key("evaluate", digest), indices, method.noise_size).to(*place_of(method)),)


def _asked(protocol: Protocol | TaskSource, episodes: int | None) -> tuple[TaskSource, int]:
    if isinstance(protocol, TaskSource):
        if episodes is None or episodes < 2:
            raise SettingsError(f"episodes={episodes}: with a task source, say how many episodes to take, two or more.")
        return protocol, episodes
    if episodes is not None:
        raise SettingsError(
            f"episodes={episodes}: the protocol says {protocol.episodes} already. Use "
            f"dataclasses.replace(protocol, episodes={episodes})."
        )
    return protocol.source(), protocol.episodes


def draw(source: TaskSource, indices: range) -> Iterator[tuple[range, Episode]]:
    """Batches of these episodes, in order: one if they share a shape, else as few as halving finds."""
    try:
        drawn = source.batch(indices)
    except TaskError:
        if len(indices) == 1:
            raise
        half = len(indices) // 2
        yield from draw(source, indices[:half])
        yield from draw(source, indices[half:])
    else:
        yield indices, drawn


@contextmanager
def evaluating(method: MetaLearner) -> Iterator[None]:
    """Within it, a method is in evaluation mode."""
    was_training = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(was_training)


def batches(
    method: MetaLearner, source: TaskSource, count: int, digest: str
) -> Iterator[tuple[range, Episode, Episode, tuple[torch.Tensor, ...]]]:
    """The first `count` episodes, `BATCH` at a time: their numbers, as drawn, where the method is, and its noise.

    Args:
        method: Whose place and noise.
        source: The episodes.
        count: How many.
        digest: Of the list that the noise is for.
    """
    device, dtype = place_of(method)
    for start in range(0, count, BATCH):
        for indices, drawn in draw(source, range(start, min(start + BATCH, count))):
            yield indices, drawn, to_device(drawn, device, dtype), noise_for(method, digest, indices)


def _means(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of each row over what is not padding."""
    total: NDArray[np.float64] = np.where(mask, values, 0).sum(1) / np.maximum(mask.sum(1), 1)
    return total


def _padded(classes: list[NDArray[np.int64] | None]) -> NDArray[np.int64] | None:
    """Classes of episodes with different ways as one array, -1 where there is none."""
    known = [rows for rows in classes if rows is not None]
    if len(known) < len(classes):
        return None
    ways = max(rows.shape[1] for rows in known)
    return np.concatenate([np.pad(rows, ((0, 0), (0, ways - rows.shape[1])), constant_values=-1) for rows in known])
