"""A task source is an infinite, seekable sequence of episodes.

Episode *i* is a pure function of (source, split, seed, *i*): a batch of indices holds the same episodes in any order,
grouping or process. From that follow exact resume, paired comparisons, sharding, and test sets that are a hash.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quickstudy.core import chance
from quickstudy.core.episode import Episode
from quickstudy.core.predictions import Likelihood

__all__ = ["Split", "TaskSource", "Tasks"]

Split = Literal["train", "val", "test", "train+val"]
"""Which tasks: "train+val" are those of both, to train on once every setting is chosen."""

Indices = Sequence[int] | NDArray[np.int64]


class TaskSource(ABC):
    """The episodes of one split under one seed.

    Subclasses set the attributes below and write `identity` and `batch`.
    """

    item: tuple[int, ...]
    """The shape of one input."""
    outputs: int
    """Ways, or the number of real values to predict; the largest where it varies."""
    likelihood: Likelihood = "categorical"
    """What targets are: "categorical" (one-hot, bool) or "gaussian" (real values)."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that determines the episodes, as plain values: names, split, seed, sizes, a hash of the data."""

    @abstractmethod
    def batch(self, indices: Indices) -> Episode:
        """The episodes with these indices (0, 1, 2, ...), stacked along a leading axis of tasks.

        Raises:
            TaskError: the episodes do not share a shape (see `same_shape` of varying sources).
        """

    def classes(self, indices: Indices) -> NDArray[np.int64] | None:
        """The class behind each way of each episode, [tasks, ways], as positions in `class_names`; None for
        regression. Statistics over classes and drawings of episodes need it."""
        return None

    @property
    def class_names(self) -> list[str]:
        """The names of the classes of this split; empty for regression."""
        return []

    @property
    def fingerprint(self) -> str:
        """A hash of `identity`: equal fingerprints, equal episodes."""
        return chance.fingerprint(self.identity)

    def digest(self, indices: Indices) -> str:
        """A hash that identifies this list of episodes, whatever machine drew them."""
        return chance.fingerprint(self.fingerprint, [int(i) for i in indices])

    def batches(self, size: int, start: int = 0) -> Iterator[Episode]:
        """Batches of `size` successive episodes, from batch number `start` on, without end."""
        while True:
            yield self.batch(range(start * size, (start + 1) * size))
            start += 1


class Tasks(ABC):
    """A family of tasks by name: settings from which the sources of all splits are made.

    Concrete families are frozen dataclasses (`@settings`), registered in `quickstudy.registry.TASKS`.
    """

    @abstractmethod
    def source(self, split: Split = "train", seed: int = 0) -> TaskSource:
        """The episodes of a split under a seed."""

    @abstractmethod
    def pool(self, split: Split = "train", seed: int = 0, batch: int = 128) -> TaskSource:
        """Flat batches for conventional training, as episodes: what `Tags.trains_on="pool"` asks for.

        `query` holds `batch` labelled examples over *all* classes of the split (or draws from many tasks), `support`
        the same ones.
        """
