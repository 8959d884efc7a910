"""A prior over tables: data sets of random causal models, to fit networks to that read tables."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.core import chance
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.predictions import Likelihood
from quickstudy.core.settings import Size, settings
from quickstudy.errors import SettingsError, TaskError
from quickstudy.tasks.causal import KINDS, tables, values
from quickstudy.tasks.fewshot import Sizes
from quickstudy.tasks.source import Indices, Split, Tasks, TaskSource

__all__ = ["Prior", "PriorSource"]


@settings
class Prior(Tasks):
    """Tell the classes of rows of a table, or their values, knowing those of others (Hollmann et al. 2023, section 4).

    Tables are drawn from random causal models: see `quickstudy.tasks.causal`. Every split draws from the same
    distribution; only the streams differ. Each class has a row in the support. Columns are of any scale, and a task has
    as many of them as it has: an input has the most there can be only where `padded`.
    """

    target: Literal["classes", "values"] = "classes"
    """What is to be told of a row: its class, or a real value."""
    ways: Sizes = (2, 10)
    """Classes of a table, where it has classes: a number, or a range to draw from."""
    shots: Sizes = (24, 224)
    """Training rows of a table, of all classes together: a number, or a range whose small numbers are likelier."""
    queries: Sizes = 32
    """Test rows of a table: a number, or a range whose small numbers are likelier."""
    features: Sizes = (2, 30)
    """Columns of a table: a number, or a range whose small numbers are likelier."""
    same_shape: Size = 1
    """How many successive tables share their sizes where these are ranges; the batch size, usually."""
    padded: bool = False
    """Fill tables up to the most columns by zeros, and to the most rows by masked ones. The tables stay the same, but
    inputs have one shape: what methods want whose nets read so many numbers."""

    def __post_init__(self) -> None:
        for name in ("ways", "shots", "queries", "features"):
            low, high = _range(getattr(self, name))
            if low > high:
                raise SettingsError(f"{name} is a range from {low} to {high}; write the lower number first.")
        most, fewest = _range(self.ways)[1], _range(self.shots)[0]
        if not 2 <= _range(self.ways)[0] <= most <= KINDS:
            raise SettingsError(f"ways is {self.ways}; expected numbers from 2 to {KINDS}.")
        if fewest < most and self.target == "classes":
            raise SettingsError(
                f"shots {self.shots} may be fewer than ways {self.ways}, but each class has a training row. Raise "
                f"shots to {most} or more."
            )

    def source(self, split: Split = "train", seed: int = 0) -> PriorSource:
        return PriorSource(self, split, seed)

    def pool(self, split: Split = "train", seed: int = 0, batch: int = 128) -> PriorSource:
        return PriorSource(self, split, seed, flat=batch)


class PriorSource(TaskSource):
    """The tables of one split. With `flat` set, an episode is one table of so many rows, support and query alike."""

    def __init__(self, family: Prior, split: Split, seed: int, flat: int | None = None) -> None:
        self.family, self.split, self.seed, self.flat = family, split, seed, flat
        self.item = (_range(family.features)[1],)
        self.likelihood: Likelihood = "gaussian" if family.target == "values" else "categorical"
        self.outputs = 1 if family.target == "values" else _range(family.ways)[1]

    @property
    def identity(self) -> dict[str, Any]:
        sizes = dataclasses.asdict(self.family)
        if self.family.target == "classes":
            del sizes["target"]  # tables of classes are those of before there were values, and so are their digests
        return {"tasks": "prior", "split": self.split, "seed": self.seed, "flat": self.flat, **sizes}

    def batch(self, indices: Indices) -> Episode:
        at = np.asarray(indices, dtype=np.int64)
        each = self._sizes(at)
        self._check(at, each)
        ways = self.outputs if self.flat or self.family.target == "values" else int(each[0, 0])
        most = each[0, 1:].tolist()
        if self.family.padded:
            most = [_range(size)[1] for size in (self.family.shots, self.family.queries, self.family.features)]
        shots, queries, columns = (0, self.flat, most[2]) if self.flat else most
        kind = np.float32 if self.family.target == "values" else np.bool_
        parts = [_Part(len(at), number, columns, ways, kind) for number in (shots, queries)]
        for size in np.unique(each, axis=0):
            alike = np.flatnonzero((each == size).all(1))
            rows = (0, self.flat) if self.flat else tuple(size[1:3].tolist())
            x, y = self._tables(at[alike], sum(rows), int(size[3]), ways)
            for part, begin, number in zip(parts, (0, rows[0]), rows, strict=True):
                part.put(alike, x[:, begin : begin + number], y[:, begin : begin + number])
        support, query = (part.examples() for part in parts)
        return Episode(query if self.flat else support, query)

    def _tables(self, at: NDArray[np.int64], rows: int, columns: int, ways: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rows, [t, n, c], and their targets, [t, n, outputs]."""
        if self.family.target == "values":
            valued = values(self._key("values"), at, rows, columns)
            return valued.x, valued.y[..., None]
        drawn = tables(self._key("tables"), at, rows, columns, ways)
        return drawn.x, drawn.y[..., None] == np.arange(ways)

    def _check(self, at: NDArray[np.int64], each: NDArray[np.int64]) -> None:
        compared = each[:, :1] if self.family.padded or self.flat else each
        if self.family.target == "values":
            compared = each[:, 1:1] if self.family.padded else each[:, 1:]
        odd = np.flatnonzero((compared != compared[0]).any(1))
        if len(odd) and not self.flat:
            raise TaskError(
                f"episodes {at[0]} and {at[odd[0]]} have (ways, shots, queries, features) {tuple(each[0].tolist())} "
                f"and {tuple(each[odd[0]].tolist())}; a batch holds one shape. Set same_shape to your batch size (it "
                f"is {self.family.same_shape}) and start batches at its multiples."
            )

    def _sizes(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ways, shots, queries and features of each episode, [t, 4]."""
        family = self.family
        u = chance.uniforms(self._key("sizes"), at // family.same_shape, 4)
        ends = np.array([_range(size) for size in (family.ways, family.shots, family.queries, family.features)])
        low, high = ends[:, 0], ends[:, 1] + 1
        even, skewed = low + (high - low) * u, low * (high / low) ** u
        found = np.floor(np.where([True, False, False, False], even, skewed) + 1e-9).astype(np.int64)
        within: NDArray[np.int64] = np.clip(found, ends[:, 0], ends[:, 1])
        return within

    def _key(self, purpose: str) -> int:
        return chance.key("prior", purpose, self.split, self.seed, self.flat)


class _Part:
    """The support, or the query, of a batch that is being filled."""

    def __init__(self, tasks: int, rows: int, columns: int, outputs: int, kind: type[np.generic]) -> None:
        self.x = np.zeros((tasks, rows, columns), dtype=np.float32)
        self.y = np.zeros((tasks, rows, outputs), dtype=kind)
        self.mask = np.zeros((tasks, rows), dtype=bool)

    def put(self, tasks: NDArray[np.int64], x: NDArray[Any], y: NDArray[Any]) -> None:
        rows, columns = x.shape[1:]
        self.x[tasks, :rows, :columns] = x
        self.y[tasks, :rows] = y
        self.mask[tasks, :rows] = True

    def examples(self) -> Examples:
        return Examples(torch.from_numpy(self.x), torch.from_numpy(self.y), torch.from_numpy(self.mask))


def _range(sizes: Sizes) -> tuple[int, int]:
    return sizes if isinstance(sizes, tuple) else (sizes, sizes)
