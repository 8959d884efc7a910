"""Three pools that must share nothing: what is trained on, what guides training, what is reported."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.core import chance
from quickstudy.errors import DataError, SettingsError
from quickstudy.tasks.pool import Pool

__all__ = ["Splits", "check_fractions", "check_splits", "dealt"]


class Splits(NamedTuple):
    """The pools of a data set."""

    train: Pool
    val: Pool
    test: Pool


def check_splits(splits: Splits, *, groups: bool = False, content: bool = True) -> Splits:
    """The splits themselves, if no two of them share a class.

    Args:
        splits: What to check.
        groups: Also refuse a group (an alphabet, a superclass) that has classes in two splits.
        content: Also refuse an example that is, byte for byte, in two splits.

    Raises:
        DataError: naming the first class, group or example found in two splits; or item shapes that differ.
    """
    for (a, one), (b, two) in combinations(splits._asdict().items(), 2):
        if one.item != two.item or one.x.dtype != two.x.dtype:
            raise DataError(
                f"{a} holds {one.x.dtype} examples of shape {one.item}, {b} {two.x.dtype} of {two.item}; all splits "
                "share one shape and type. Convert them alike."
            )
        _refuse_shared(a, one.names, b, two.names, "class")
        if groups:
            _refuse_shared(a, one.groups or [], b, two.groups or [], "group")
        if content:
            _refuse_copies(a, one, b, two)
    return splits


def check_fractions(val: float, test: float) -> None:
    """Refuse fractions of classes for validation and testing that leave none to train on.

    Raises:
        SettingsError: together they are all classes, or more.
    """
    if val + test >= 1:
        raise SettingsError(
            f"val_fraction {val} and test_fraction {test} leave no classes to train on; together they must stay below "
            "1."
        )


def dealt(names: Iterable[str], val: float, test: float, *key: Any, origin: str, mend: str) -> dict[str, list[str]]:
    """The names of each split's classes: in the order of their hashes the first go to test, the next to val.

    Args:
        names: Those of all classes. Their order does not matter.
        val: The fraction of classes for validation; one at least.
        test: The fraction of classes for testing; one at least.
        key: Hashed with each name.
        origin: What has these classes, for messages.
        mend: What can be done about too few of them, besides adding some.

    Raises:
        DataError: no classes are left to train on.
    """
    order = sorted(names, key=lambda name: chance.fingerprint(*key, name))
    tested, validated = max(1, round(test * len(order))), max(1, round(val * len(order)))
    if tested + validated >= len(order):
        raise DataError(
            f"{origin} has {len(order)} classes; train, val and test need some each (val {validated}, test {tested}). "
            f"Add classes, lower val_fraction and test_fraction, or {mend}."
        )
    ends = {"train": order[tested + validated :], "val": order[tested : tested + validated], "test": order[:tested]}
    return {split: sorted(each) for split, each in ends.items()}


def _refuse_shared(a: str, one: list[str], b: str, two: list[str], what: str) -> None:
    shared = sorted(set(one) & set(two))
    if shared:
        raise DataError(
            f"{what} {shared[0]!r} is in both {a} and {b} ({len(shared)} shared). Keep each {what} in one split: a "
            "test on what was trained on measures memory, not learning."
        )


def _refuse_copies(a: str, one: Pool, b: str, two: Pool) -> None:
    left, right = row_hashes(one), row_hashes(two)
    for value in np.intersect1d(left, right):
        i, j = int(np.flatnonzero(left == value)[0]), int(np.flatnonzero(right == value)[0])
        if bool((one.x[row_of(one, i)] == two.x[row_of(two, j)]).all()):
            raise DataError(
                f"an example of class {class_of(one, i)!r} in {a} is identical to one of class {class_of(two, j)!r} in "
                f"{b}. Remove one, or check with content=False if equal examples of different classes are expected."
            )


def row_hashes(pool: Pool) -> NDArray[np.uint64]:
    """A 64-bit hash of each example of a pool, class by class."""
    rows = np.concatenate([np.arange(s, s + c) for s, c in zip(pool.starts, pool.counts, strict=True)])
    width = pool.x[0].numel() * pool.x.element_size()
    weights = np.random.Generator(np.random.Philox(0)).integers(0, 2**63, -(-width // 8), dtype=np.uint64) * 2 + 1
    out = np.empty(len(rows), dtype=np.uint64)
    for at in range(0, len(rows), 4096):  # a few MB at a time: pools may be larger than memory
        some = rows[at : at + 4096]
        flat = np.ascontiguousarray(pool.x.numpy()[some]).reshape(len(some), -1).view(np.uint8)
        padded = np.pad(flat, ((0, 0), (0, -width % 8))).view(np.uint64)
        # each word is mixed before it is summed: a plain weighted sum is blind to words that trade places mod 2⁶⁴
        mixed = (padded ^ (padded >> np.uint64(29))) * weights
        out[at : at + 4096] = (mixed ^ (mixed >> np.uint64(32))).sum(1, dtype=np.uint64)
    return out


def row_of(pool: Pool, example: int) -> int:
    """The row of `pool.x` that holds the pool's example number `example`, counted class by class."""
    ends = np.cumsum(pool.counts)
    at = int(np.searchsorted(ends, example, side="right"))
    return int(pool.starts[at] + example - (ends[at] - pool.counts[at]))


def class_of(pool: Pool, example: int) -> str:
    """The name of the class of the pool's example number `example`, counted class by class."""
    return pool.names[int(np.searchsorted(np.cumsum(pool.counts), example, side="right"))]
