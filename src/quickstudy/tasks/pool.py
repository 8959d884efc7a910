"""Pools: the labelled examples that the episodes of one split are drawn from."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.core import chance
from quickstudy.core.shapes import Shaped, Tensor
from quickstudy.errors import DataError

__all__ = ["Pool"]

Array = Tensor | NDArray[Any]


class Pool:
    """Labelled examples grouped by class: each class is a run of successive rows of `x`.

    A pool is a view: several may share one array, in memory or memory-mapped. Images stay uint8; they become fractions
    of 255 only on the device (`quickstudy.core.episode.to_device`).

    Args:
        x: Examples [n, *item], uint8 or floating point (kept as float32).
        starts: The first row of each class [classes].
        counts: The number of rows of each class [classes].
        names: One name a class, all different.
        groups: One name a class of what classes belong to (alphabet, superclass), if there is such a thing.
        name: What messages and hashes call this pool, such as "omniglot/test".

    Raises:
        DataError: no examples, an empty class, equal names, NaN or infinite values (naming the class), or an array of
            another kind.
    """

    def __init__(
        self,
        x: Array,
        starts: Sequence[int] | NDArray[np.int64],
        counts: Sequence[int] | NDArray[np.int64],
        names: Sequence[str],
        *,
        groups: Sequence[str] | None = None,
        name: str = "",
    ) -> None:
        self.name = name or "pool"
        self.x: Shaped[Tensor, "n *item"] = _tensor(x, self.name)
        self.starts = np.asarray(starts, dtype=np.int64)
        self.counts = np.asarray(counts, dtype=np.int64)
        self.names = [str(each) for each in names]
        self.groups = None if groups is None else [str(each) for each in groups]
        self._check()

    @classmethod
    def from_arrays(
        cls,
        x: Array,
        y: Array | Sequence[Any],
        names: Sequence[str] | None = None,
        *,
        groups: Sequence[str] | None = None,
        name: str = "",
    ) -> Pool:
        """A pool of examples [n, *item] and their labels [n], in any order; labels are integers or text.

        Args:
            x: The examples. If they already lie class by class they are not copied (so a memory map stays one).
            y: The label of each example.
            names: The name of each class, in the order of the sorted labels; None uses the labels.
            groups: The group of each class, in the same order.
            name: What messages and hashes call this pool.
        """
        label = name or "pool"
        values = _labels(y, label)
        if len(values) != len(x):
            raise DataError(f"{label}: {len(x)} examples but {len(values)} labels. Give one label an example.")
        kinds, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        if np.any(inverse[1:] < inverse[:-1]):
            order = np.argsort(inverse, kind="stable")
            x = x[torch.from_numpy(order)] if isinstance(x, Tensor) else x[order]
        named = [str(kind) for kind in kinds] if names is None else names
        return cls(x, np.cumsum(counts) - counts, counts, named, groups=groups, name=name)

    @classmethod
    def from_dataset(cls, dataset: Any, names: Sequence[str] | None = None, *, name: str = "") -> Pool:
        """A pool of any map-style dataset of (input, label) pairs, read once into memory.

        Inputs are tensors, arrays or PIL images (which become uint8 [channels, height, width]). Without `names`, a
        `classes` list on the dataset names its labels, as torchvision's datasets do.

        Raises:
            DataError: an entry that is no pair, or inputs of different shapes (naming the first that differs).
        """
        label = name or type(dataset).__name__
        inputs: list[NDArray[Any]] = []
        labels: list[Any] = []
        for i in range(len(dataset)):
            entry = dataset[i]
            if not isinstance(entry, (tuple, list)) or len(entry) != 2:
                raise DataError(
                    f"{label}: entry {i} is {type(entry).__name__}; expected a pair of an input and its label. Wrap "
                    "the dataset in one that gives pairs."
                )
            value, kind = entry
            inputs.append(_input(value))
            labels.append(kind.item() if isinstance(kind, Tensor) else kind)
            if inputs[-1].shape != inputs[0].shape:
                raise DataError(
                    f"{label}: entry {i} has shape {inputs[-1].shape}, entry 0 has {inputs[0].shape}; all inputs of a "
                    "pool share one shape. Resize or pad them in the dataset."
                )
        if not inputs:
            raise DataError(f"{label}: the dataset is empty; a pool needs at least one example.")
        classes = getattr(dataset, "classes", None)
        if names is None and classes is not None:
            names = [str(classes[kind]) for kind in np.unique(_labels(labels, label))]
        return cls.from_arrays(np.stack(inputs), labels, names, name=label)

    @classmethod
    def join(cls, pools: Sequence[Pool], name: str = "") -> Pool:
        """One pool of the classes of several, in their order; examples are copied unless the pools share their memory.

        Raises:
            DataError: two classes share a name, or examples differ in shape.
        """
        label = name or "+".join(pool.name for pool in pools)
        if len({pool.item for pool in pools}) > 1:
            shapes = ", ".join(f"{pool.name} {pool.item}" for pool in pools)
            raise DataError(f"{label}: pools of different shapes cannot be joined: {shapes}. Resize one of them.")
        shared = len({(pool.x.data_ptr(), pool.x.shape) for pool in pools}) == 1
        lengths = np.array([0 if shared else len(pool.x) for pool in pools])
        before = np.cumsum(lengths) - lengths
        grouped = all(pool.groups is not None for pool in pools)
        return cls(
            pools[0].x if shared else torch.cat([pool.x for pool in pools]),
            np.concatenate([pool.starts + rows for pool, rows in zip(pools, before, strict=True)]),
            np.concatenate([pool.counts for pool in pools]),
            [each for pool in pools for each in pool.names],
            groups=[each for pool in pools for each in pool.groups or ()] if grouped else None,
            name=label,
        )

    @property
    def item(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.x.shape[1:])

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.names)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the examples, how they fall into classes, and the names."""
        digest = hashlib.blake2b(digest_size=16)
        for start, stop in _runs(self.starts, self.starts + self.counts):
            digest.update(self.x[start:stop].contiguous().numpy().data)
        kind = [str(self.x.dtype), self.item, self.counts.tolist(), self.names, self.groups]
        return chance.fingerprint(digest.hexdigest(), kind)

    def take(self, classes: Sequence[int] | NDArray[np.int64], name: str = "") -> Pool:
        """The pool of some of the classes, by position; it shares this one's memory."""
        at = np.asarray(classes, dtype=np.int64)
        groups = None if self.groups is None else [self.groups[i] for i in at]
        return Pool(
            self.x, self.starts[at], self.counts[at], [self.names[i] for i in at], groups=groups, name=name or self.name
        )

    def at_least(self, examples: int) -> Pool:
        """The pool without the classes that have fewer than `examples` examples."""
        enough = np.flatnonzero(self.counts >= examples)
        if len(enough) == 0:
            raise DataError(
                f"{self.name}: no class has {examples} examples; the largest has {self.counts.max()}. "
                f"Set min_examples to {self.counts.max()} or less."
            )
        return self if len(enough) == self.classes else self.take(enough)

    def __repr__(self) -> str:
        return f"Pool({self.name!r}, classes={self.classes}, examples={self.counts.sum()}, item={self.item})"

    def _check(self) -> None:
        if self.classes == 0 or len(self.x) == 0:
            raise DataError(f"{self.name}: no examples; a pool needs at least one class with one.")
        lengths = {"names": self.classes, "starts": len(self.starts), "counts": len(self.counts)}
        lengths |= {} if self.groups is None else {"groups": len(self.groups)}
        if len(set(lengths.values())) > 1:
            got = ", ".join(f"{length} {what}" for what, length in lengths.items())
            raise DataError(f"{self.name}: got {got}. Give one of each for every class.")
        if len(set(self.names)) < self.classes:
            twice = next(each for each in self.names if self.names.count(each) > 1)
            raise DataError(f"{self.name}: the class name {twice!r} is used twice. Name every class differently.")
        for at in np.flatnonzero(self.counts < 1):
            raise DataError(f"{self.name}: class {self.names[at]!r} has no examples. Add some, or leave it out.")
        if self.starts.min() < 0 or (self.starts + self.counts).max() > len(self.x):
            raise DataError(
                f"{self.name}: classes reach from row {self.starts.min()} to {(self.starts + self.counts).max()}, but "
                f"there are {len(self.x)} rows. Mend `starts` and `counts`."
            )
        self._refuse_nan()

    def _refuse_nan(self) -> None:
        if not self.x.is_floating_point():
            return
        for at, (start, count) in enumerate(zip(self.starts, self.counts, strict=True)):
            bad = ~torch.isfinite(self.x[start : start + count]).flatten(1).all(1)
            if bad.any():
                raise DataError(
                    f"{self.name}: {int(bad.sum())} of the {count} examples of class {self.names[at]!r} hold NaN or "
                    f"infinite values, first example {int(bad.nonzero()[0])} of the class. Clean or drop them."
                )


def _tensor(x: Array, label: str) -> Tensor:
    values = _plain(_array(x), label)
    with warnings.catch_warnings():  # torch warns of a read-only memory map; a pool is only ever read
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(values)


def _array(x: Array) -> NDArray[Any]:
    if not isinstance(x, Tensor):
        return np.asarray(x)
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()  # numpy knows no bfloat16


def _plain(x: NDArray[Any], label: str) -> NDArray[Any]:
    if x.ndim < 2:
        raise DataError(
            f"{label}: examples have shape {x.shape}; expected [n, *item]. Use reshape(-1, 1) if each is one number."
        )
    if x.dtype == np.bool_:
        return x.astype(np.uint8) * 255
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DataError(
            f"{label}: examples are {x.dtype}; expected uint8 (images, 0 to 255) or floating point. Convert them "
            "first, for instance with .astype(numpy.float32)."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        x = x if x.dtype == np.uint8 else x.astype(np.float32, copy=False)
    return x if min(x.strides) >= 0 else x.copy()


def _labels(y: Array | Sequence[Any], label: str) -> NDArray[Any]:
    values = _array(y) if isinstance(y, Tensor) else np.asarray(y)
    if values.ndim != 1 or values.dtype.kind not in "biuU":
        raise DataError(
            f"{label}: labels are {values.dtype} of shape {values.shape}; expected one integer or text an example [n]. "
            "Use argmax(-1) on one-hot labels, and .astype(int) on whole floats."
        )
    return values


def _input(value: Any) -> NDArray[Any]:
    array = _array(value)
    if hasattr(value, "getbands"):  # a PIL image: height and width come first
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return array


def _runs(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Spans of rows with those that touch joined, so that hashing takes few large bites."""
    breaks = np.flatnonzero(starts[1:] != stops[:-1])
    firsts, lasts = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(starts) - 1]])
    return [(int(starts[a]), int(stops[b])) for a, b in zip(firsts, lasts, strict=True)]
