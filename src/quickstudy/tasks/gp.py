"""Functions drawn from a Gaussian process: the regression tasks on which neural processes are compared."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.core import chance
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.settings import Rate, Size, settings
from quickstudy.errors import SettingsError, TaskError
from quickstudy.tasks.fewshot import Sizes
from quickstudy.tasks.source import Indices, Split, Tasks, TaskSource

__all__ = ["GP", "GPSource", "Kernel", "Parameters", "covariance"]

Kernel = Literal["rbf", "matern", "periodic"]
"""How alike the values at two places are: exp(-½d²); (1 + √5 d + 5d²/3) exp(-√5 d); exp(-2 sin²(π|x - x'| / p) / l²).

d is the distance over the length l, p the period. All are multiplied by the square of the scale.
"""

Array = NDArray[np.float64]
Range = tuple[Rate, Rate]


class Parameters(NamedTuple):
    """What the covariance of each task is made of, [t] each."""

    length: Array
    scale: Array
    period: Array


@settings
class GP(Tasks):
    """Regress functions drawn from a Gaussian process on an interval (Garnelo et al. 2018, Nguyen and Grover 2022).

    Each task has a length, a scale (and a period) of its own, uniform in their ranges, and points uniform in the
    interval. The defaults are those of the transformer neural processes' code. Every split draws from the same
    distribution; only the streams differ.
    """

    kernel: Kernel = "rbf"
    """How smooth functions are: "rbf" infinitely, "matern" (5/2) twice, or "periodic"."""
    length: Range = (0.1, 0.6)
    """The (least, greatest) distance over which values are alike."""
    scale: Range = (0.1, 1.0)
    """The (least, greatest) standard deviation of values."""
    period: Range = (0.1, 0.5)
    """The (least, greatest) period of a periodic function."""
    interval: tuple[float, float] = (-2.0, 2.0)
    """Where inputs lie."""
    noise: Rate = 0.02
    """Standard deviation of the noise on every value."""
    shots: Sizes = (3, 46)
    """Support points of a task: a number, or a range to draw from."""
    queries: Sizes = (3, 46)
    """Query points of a task: a number, or a range to draw from."""
    most: Size = 49
    """Points of a task altogether, at most: where queries are a range, they are drawn from what the support leaves."""
    same_shape: Size = 1
    """How many successive tasks share their shots and queries where these are ranges; the batch size, usually."""
    padded: bool = False
    """Fill tasks up to the most shots and queries there can be, by masked points. The tasks stay the same, but all
    batches have one shape: what compiled steps want."""

    def __post_init__(self) -> None:
        for name in ("length", "scale", "period", "interval", "shots", "queries"):
            low, high = _range(getattr(self, name))
            if low > high:
                raise SettingsError(f"{name} is a range from {low} to {high}; write the lower number first.")

    def source(self, split: Split = "train", seed: int = 0) -> GPSource:
        return GPSource(self, split, seed)

    def pool(self, split: Split = "train", seed: int = 0, batch: int = 128) -> GPSource:
        return GPSource(self, split, seed, flat=batch)


class GPSource(TaskSource):
    """The tasks of one split. With `flat` set, an episode is that many points, each of a function of its own.

    Under one seed episode *i* has the same queries whatever the shots.
    """

    item = (1,)
    outputs = 1
    likelihood = "gaussian"

    def __init__(self, family: GP, split: Split, seed: int, flat: int | None = None) -> None:
        self.family, self.split, self.seed, self.flat = family, split, seed, flat

    @property
    def identity(self) -> dict[str, Any]:
        sizes = dataclasses.asdict(self.family)
        return {"tasks": "gp", "split": self.split, "seed": self.seed, "flat": self.flat, **sizes}

    def parameters(self, indices: Indices) -> Parameters:
        """What the functions of these episodes were drawn with, for oracles."""
        u = chance.uniforms(self._key("parameters"), indices, 3)
        ranges = (self.family.length, self.family.scale, self.family.period)
        return Parameters(*(low + (high - low) * u[:, i] for i, (low, high) in enumerate(ranges)))

    def batch(self, indices: Indices) -> Episode:
        at = np.asarray(indices, dtype=np.int64)
        if self.flat:
            return self._flat(at)
        sizes = self._sizes(at)
        most: tuple[int, ...] = tuple(sizes[0].tolist())
        if self.family.padded:
            most = _range(self.family.shots)[1], _range(self.family.queries)[1]
        drawn = [np.zeros((len(at), number, 2)) for number in most]
        for size in np.unique(sizes, axis=0):
            alike = (sizes == size).all(1)
            for part, points in zip(drawn, self._points(at[alike], *size.tolist()), strict=True):
                part[alike, : points.shape[1]] = points
        masks = [np.arange(number) < sizes[:, i : i + 1] for i, number in enumerate(most)]
        return Episode(*(_examples(part, mask) for part, mask in zip(drawn, masks, strict=True)))

    def _points(self, at: NDArray[np.int64], shots: int, queries: int) -> tuple[Array, Array]:
        """Places and values, [t, n, 2], of the support and of the query."""
        # Queries come first: through a lower triangular factor what follows changes nothing before it.
        low, high = self.family.interval
        x = low + (high - low) * chance.uniforms(self._key("places"), at, queries + shots)
        cov = covariance(self.family.kernel, self.parameters(at), x) + self.family.noise**2 * np.eye(x.shape[1])
        y = (np.linalg.cholesky(cov) @ self._normals(at, x.shape[1])[..., None])[..., 0]
        points = np.stack([x, y], axis=-1)
        return points[:, queries:], points[:, :queries]

    def _flat(self, at: NDArray[np.int64]) -> Episode:
        assert self.flat is not None
        (low, high), (least, greatest) = self.family.interval, self.family.scale
        u = chance.uniforms(self._key("flat"), at, 2 * self.flat)
        x = low + (high - low) * u[:, : self.flat]
        scale = least + (greatest - least) * u[:, self.flat :]
        y = np.sqrt(scale**2 + self.family.noise**2) * self._normals(at, self.flat)
        examples = _examples(np.stack([x, y], axis=-1), np.ones(x.shape, dtype=bool))
        return Episode(examples, examples)

    def _normals(self, at: NDArray[np.int64], count: int) -> Array:
        """Standard normal numbers of which more do not change the first, by Box and Muller."""
        u = chance.uniforms(self._key("values"), at, 2 * -(-count // 2)).reshape(len(at), -1, 2)
        radius, angle = np.sqrt(-2 * np.log(u[..., 0])), 2 * np.pi * u[..., 1]
        both: Array = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        return both.reshape(len(at), -1)[:, :count]

    def _sizes(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The shots and queries of each episode, [t, 2]; all the same unless they are padded."""
        family = self.family
        u = chance.uniforms(self._key("sizes"), at // family.same_shape, 2)
        (few, many), (least, greatest) = _range(family.shots), _range(family.queries)
        shots = few + np.floor((many - few + 1) * u[:, 0]).astype(np.int64)
        left = np.clip(family.most - shots, least, greatest)
        queries = least + np.floor((left - least + 1) * u[:, 1]).astype(np.int64)
        each = np.stack([shots, queries], axis=1)
        odd = np.flatnonzero((each != each[0]).any(1))
        if len(odd) and not family.padded:
            raise TaskError(
                f"episodes {at[0]} and {at[odd[0]]} have (shots, queries) {tuple(each[0].tolist())} and "
                f"{tuple(each[odd[0]].tolist())}; a batch holds one shape. Set same_shape to your batch size (it is "
                f"{family.same_shape}) and start batches at its multiples, or set padded."
            )
        return each

    def _key(self, purpose: str) -> int:
        return chance.key("gp", purpose, self.split, self.seed)


def covariance(kernel: Kernel, parameters: Parameters, x: Array) -> Array:
    """The covariance [t, n, n] of noiseless values at the places `x` [t, n]."""
    length, scale, period = (each[:, None, None] for each in parameters)
    apart = np.abs(x[:, :, None] - x[:, None])
    if kernel == "rbf":
        alike = np.exp(-0.5 * (apart / length) ** 2)
    elif kernel == "matern":
        d = np.sqrt(5) * apart / length
        alike = (1 + d + d**2 / 3) * np.exp(-d)
    else:
        alike = np.exp(-2 * (np.sin(np.pi * apart / period) / length) ** 2)
    found: Array = scale**2 * alike
    return found


def _range(sizes: Any) -> tuple[Any, Any]:
    return sizes if isinstance(sizes, tuple) else (sizes, sizes)


def _examples(points: Array, mask: NDArray[np.bool_]) -> Examples:
    x, y = torch.from_numpy(points.astype(np.float32))[..., None].unbind(2)
    return Examples(x, y, torch.from_numpy(mask))
