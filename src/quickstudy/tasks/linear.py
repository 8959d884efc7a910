"""Functions that are linear in known features: tasks for which least squares is the answer to compare with."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from quickstudy.core import chance
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.settings import Rate, Size, settings
from quickstudy.errors import SettingsError
from quickstudy.tasks.source import Indices, Split, Tasks, TaskSource

__all__ = ["Linear", "LinearSource", "Quadratics", "quadratic_features"]

Array = NDArray[np.float64]


class _LinearTasks(Tasks):
    """A family of functions y = weights · features(x) + noise, each task with weights of its own."""

    name: ClassVar[str]
    shots: int
    queries: int

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Numbers of an input."""

    @abstractmethod
    def places(self, key: int, indices: Indices, count: int) -> Array:
        """Inputs [t, count, inputs], of which more do not change the first."""

    @abstractmethod
    def features(self, x: Array) -> Array:
        """What functions are linear in, [..., features]."""

    @abstractmethod
    def weights(self, key: int, indices: Indices, functions: int) -> Array:
        """Weights [t, functions, features]."""

    def source(self, split: Split = "train", seed: int = 0) -> LinearSource:
        return LinearSource(self, split, seed)

    def pool(self, split: Split = "train", seed: int = 0, batch: int = 128) -> LinearSource:
        return LinearSource(self, split, seed, flat=batch)


@settings
class Linear(_LinearTasks):
    """Regress y = w · x from examples, the class of functions of in-context learning (Garg et al. 2022, section 3).

    w and x are standard normal in `size` dimensions, without noise. Every split draws from the same distribution; only
    the streams differ. Under one seed the queries of a task stay the same whatever its shots.
    """

    name = "linear"

    size: Size = 5
    """Dimensions of an input. The paper has 20."""
    shots: Annotated[int, Field(ge=0)] = 10
    """Support points of a task."""
    queries: Size = 10
    """Query points of a task."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of the noise on every value."""
    sparse: Size | None = None
    """How many weights, at random places, are not zero; None for all."""
    scale: Rate = 1.0
    """Inputs are multiplied by this."""
    spread: Literal["even", "skewed"] = "even"
    """Variances of inputs: alike in all directions, or in random directions in proportion to 1, 1/4, 1/9, ..., with the
    same sum."""

    def __post_init__(self) -> None:
        if self.sparse is not None and self.sparse > self.size:
            raise SettingsError(f"sparse is {self.sparse}, but inputs have {self.size} dimensions. Lower sparse.")

    @property
    def inputs(self) -> int:
        return self.size

    def places(self, key: int, indices: Indices, count: int) -> Array:
        x = _normals(chance.key(key, "places"), indices, count * self.size).reshape(len(indices), count, self.size)
        if self.spread == "skewed":
            square = chance.normals(chance.key(key, "directions"), indices, self.size**2)
            turn = np.linalg.qr(square.reshape(-1, self.size, self.size))[0]
            length = 1 / np.arange(1, self.size + 1)
            x = (x * length * np.sqrt(self.size / (length**2).sum())) @ turn
        return self.scale * x

    def features(self, x: Array) -> Array:
        return x

    def weights(self, key: int, indices: Indices, functions: int) -> Array:
        drawn = chance.normals(chance.key(key, "weights"), indices, functions * self.size)
        drawn = drawn.reshape(len(indices), functions, self.size)
        if self.sparse is not None:
            u = chance.uniforms(chance.key(key, "which"), indices, functions * self.size).reshape(drawn.shape)
            drawn = np.where(u.argsort(-1).argsort(-1) < self.sparse, drawn, 0.0)
        return drawn


@settings
class Quadratics(_LinearTasks):
    """Regress y = a x1² + b x2² + c x1 x2 + d x1 + e x2 + f from examples (Hochreiter et al. 2001, section 4).

    Coefficients and inputs are uniform in [-1, 1]. The paper reads 1,000 examples of a function; here as many as shots
    and queries are asked for. Every split draws from the same distribution; only the streams differ. Under one seed the
    queries of a task stay the same whatever its shots.
    """

    name = "quadratics"

    shots: Annotated[int, Field(ge=0)] = 50
    """Support points of a task."""
    queries: Size = 50
    """Query points of a task."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of the noise on every value."""

    @property
    def inputs(self) -> int:
        return 2

    def places(self, key: int, indices: Indices, count: int) -> Array:
        u = chance.uniforms(chance.key(key, "places"), indices, 2 * count)
        return 2 * u.reshape(len(u), count, 2) - 1

    def features(self, x: Array) -> Array:
        return quadratic_features(x)

    def weights(self, key: int, indices: Indices, functions: int) -> Array:
        u = chance.uniforms(chance.key(key, "weights"), indices, 6 * functions)
        return 2 * u.reshape(len(u), functions, 6) - 1


def quadratic_features(x: Array) -> Array:
    """x1², x2², x1 x2, x1, x2, 1 of points [..., 2]: what quadratic functions are linear in."""
    first, second = x[..., 0], x[..., 1]
    return np.stack([first**2, second**2, first * second, first, second, np.ones_like(first)], axis=-1)


class LinearSource(TaskSource):
    """The tasks of one split. With `flat` set, an episode is that many points, each of a function of its own."""

    outputs = 1
    likelihood = "gaussian"

    def __init__(self, family: _LinearTasks, split: Split, seed: int, flat: int | None = None) -> None:
        self.family, self.split, self.seed, self.flat = family, split, seed, flat
        self.item = (family.inputs,)

    @property
    def identity(self) -> dict[str, Any]:
        sizes = dataclasses.asdict(self.family)  # type: ignore[call-overload]
        return {"tasks": self.family.name, "split": self.split, "seed": self.seed, "flat": self.flat, **sizes}

    def weights(self, indices: Indices) -> Array:
        """The weights of these episodes' functions, [t, features], for oracles."""
        return self.family.weights(self._key, indices, 1)[:, 0]

    def batch(self, indices: Indices) -> Episode:
        shots, queries = (0, self.flat) if self.flat else (self.family.shots, self.family.queries)
        # Queries come first, so that more shots leave them as they were.
        x = self.family.places(self._key, indices, queries + shots)
        weights = self.family.weights(self._key, indices, queries if self.flat else 1)
        y = (self.family.features(x) * weights).sum(-1)
        noise: float = self.family.noise  # type: ignore[attr-defined]
        if noise:
            y = y + noise * _normals(chance.key(self._key, "noise"), indices, y.shape[1])
        query = _examples(x[:, :queries], y[:, :queries])
        return Episode(query if self.flat else _examples(x[:, queries:], y[:, queries:]), query)

    @property
    def _key(self) -> int:
        return chance.key(self.family.name, self.split, self.seed, self.flat)


def _examples(x: Array, y: Array) -> Examples:
    return Examples(
        torch.from_numpy(x.astype(np.float32)),
        torch.from_numpy(y.astype(np.float32))[..., None],
        torch.ones(y.shape, dtype=torch.bool),
    )


def _normals(key: int, indices: Indices, count: int) -> Array:
    """Standard normal numbers of which more do not change the first, by Box and Muller."""
    u = chance.uniforms(key, indices, 2 * -(-count // 2)).reshape(len(indices), -1, 2)
    radius, angle = np.sqrt(-2 * np.log(u[..., 0])), 2 * np.pi * u[..., 1]
    both: Array = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return both.reshape(len(indices), -1)[:, :count]
