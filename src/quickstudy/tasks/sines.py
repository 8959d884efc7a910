"""Sine waves: the regression tasks of the MAML paper."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from quickstudy.core import chance
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.settings import Size, settings
from quickstudy.core.shapes import Tensor
from quickstudy.tasks.source import Indices, Split, Tasks, TaskSource

__all__ = ["SineSource", "Sines"]


@settings
class Sines(Tasks):
    """Regress y = A sin(x - p) from a few points (Finn et al. 2017, section 5.1).

    A is uniform in [0.1, 5], p in [0, π] and x in [-5, 5]. Every split draws from the same distribution; only the
    streams differ.
    """

    shots: Size = 10
    """Support points of a task."""
    queries: Size = 10
    """Query points of a task."""

    def source(self, split: Split = "train", seed: int = 0) -> SineSource:
        return SineSource(self, split, seed, waves=None)

    def pool(self, split: Split = "train", seed: int = 0, batch: int = 128) -> SineSource:
        return SineSource(dataclasses.replace(self, shots=1, queries=batch), split, seed, waves=batch)


class SineSource(TaskSource):
    """The sine tasks of one split. With `waves` set, every point of an episode is of a wave of its own."""

    item = (1,)
    outputs = 1
    likelihood = "gaussian"

    def __init__(self, family: Sines, split: Split, seed: int, waves: int | None) -> None:
        self.family, self.split, self.seed, self.waves = family, split, seed, waves

    @property
    def identity(self) -> dict[str, Any]:
        sizes = dataclasses.asdict(self.family)
        return {"tasks": "sines", "split": self.split, "seed": self.seed, "waves": self.waves, **sizes}

    def batch(self, indices: Indices) -> Episode:
        shots, queries = self.family.shots, self.family.queries
        waves = self.waves or 1
        u = chance.uniforms(chance.key("sines", self.split, self.seed), indices, 2 * waves + shots + queries)
        amplitude, phase = 0.1 + 4.9 * u[:, :waves], np.pi * u[:, waves : 2 * waves]
        x = 10 * u[:, 2 * waves :] - 5

        def examples(x: np.ndarray) -> Examples:
            take = slice(0, x.shape[1] if self.waves else 1)
            y = amplitude[:, take] * np.sin(x - phase[:, take])
            return Examples(_column(x), _column(y), torch.ones(x.shape, dtype=torch.bool))

        query = examples(x[:, shots:])
        return Episode(query if self.waves else examples(x[:, :shots]), query)


def _column(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[..., None]
