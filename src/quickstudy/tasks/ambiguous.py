"""Sine or line: regression tasks whose few, noisy points both kinds of function explain."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from quickstudy.core import chance
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.settings import Fraction, Rate, Size, settings
from quickstudy.errors import SettingsError
from quickstudy.tasks.source import Indices, Split, Tasks, TaskSource

__all__ = ["Ambiguous", "AmbiguousSource", "Functions"]

Array = NDArray[np.float64]


class Functions(NamedTuple):
    """What each task's function is, [t] each: `line` says which kind; a task has the numbers of both."""

    line: NDArray[np.bool_]
    amplitude: Array
    phase: Array
    slope: Array
    intercept: Array

    def at(self, x: Array) -> Array:
        """Noiseless values at the places `x`, [t, n]."""
        line, amplitude, phase, slope, intercept = (each[:, None] for each in self)
        values: Array = np.where(line, slope * x + intercept, amplitude * np.sin(x - phase))
        return values


@settings
class Ambiguous(Tasks):
    """Regress a sine or a line from a few noisy points that both explain (Finn et al. 2018, section 6.1; Yoon et al.).

    Half of the tasks are y = A sin(x - p) with A uniform in [0.1, 5] and p in [0, π], half are y = ax + b with a and b
    uniform in [-3, 3], all with normal noise. Support points lie in a window somewhere on the interval, query points
    anywhere on it: what the function does elsewhere has to be guessed. With `lines=0` and a window as wide as the
    interval they are noisy sines. Every split draws from the same distribution; only the streams differ.
    """

    lines: Fraction = 0.5
    """How likely a task is a line."""
    noise: Annotated[float, Field(ge=0)] = 0.3
    """Standard deviation of the noise on every value."""
    interval: tuple[float, float] = (-5.0, 5.0)
    """Where inputs lie."""
    window: Rate = 2.0
    """How wide the place is in which a task's support points lie; at most the interval."""
    shots: Size = 5
    """Support points of a task."""
    queries: Size = 20
    """Query points of a task."""

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 < self.window <= high - low:
            raise SettingsError(
                f"window={self.window:g} does not fit in the interval from {low:g} to {high:g}; choose a width of at "
                f"most {high - low:g}, and the lower end first."
            )

    def source(self, split: Split = "train", seed: int = 0) -> AmbiguousSource:
        return AmbiguousSource(self, split, seed)

    def pool(self, split: Split = "train", seed: int = 0, batch: int = 128) -> AmbiguousSource:
        return AmbiguousSource(self, split, seed, flat=batch)


class AmbiguousSource(TaskSource):
    """The tasks of one split. With `flat` set, an episode is that many points, each of a function of its own."""

    item = (1,)
    outputs = 1
    likelihood = "gaussian"

    def __init__(self, family: Ambiguous, split: Split, seed: int, flat: int | None = None) -> None:
        self.family, self.split, self.seed, self.flat = family, split, seed, flat

    @property
    def identity(self) -> dict[str, Any]:
        sizes = dataclasses.asdict(self.family)
        return {"tasks": "ambiguous", "split": self.split, "seed": self.seed, "flat": self.flat, **sizes}

    def functions(self, indices: Indices) -> Functions:
        """What the functions of these episodes are, for oracles."""
        return self._functions(chance.uniforms(self._key("functions"), indices, 5))

    def batch(self, indices: Indices) -> Episode:
        if self.flat:
            return self._flat(indices)
        family = self.family
        (low, high), shots = family.interval, family.shots
        u = chance.uniforms(self._key("places"), indices, 1 + shots + family.queries)
        begins = low + (high - low - family.window) * u[:, :1]
        x = np.concatenate([begins + family.window * u[:, 1 : 1 + shots], low + (high - low) * u[:, 1 + shots :]], 1)
        y = self.functions(indices).at(x) + family.noise * chance.normals(self._key("noise"), indices, x.shape[1])
        return Episode(_examples(x[:, :shots], y[:, :shots]), _examples(x[:, shots:], y[:, shots:]))

    def _flat(self, indices: Indices) -> Episode:
        assert self.flat is not None
        count, (low, high) = self.flat, self.family.interval
        u = chance.uniforms(self._key("flat"), indices, 6 * count).reshape(-1, 6)
        x = low + (high - low) * u[:, 5:]
        y = self._functions(u[:, :5]).at(x).reshape(-1, count)
        y = y + self.family.noise * chance.normals(self._key("noise"), indices, count)
        examples = _examples(x.reshape(-1, count), y)
        return Episode(examples, examples)

    def _functions(self, u: Array) -> Functions:
        return Functions(
            u[:, 0] < self.family.lines, 0.1 + 4.9 * u[:, 1], np.pi * u[:, 2], 6 * u[:, 3] - 3, 6 * u[:, 4] - 3
        )

    def _key(self, purpose: str) -> int:
        return chance.key("ambiguous", purpose, self.split, self.seed)


def _examples(x: Array, y: Array) -> Examples:
    places, values = (torch.from_numpy(each.astype(np.float32))[..., None] for each in (x, y))
    return Examples(places, values, torch.ones(x.shape, dtype=torch.bool))
