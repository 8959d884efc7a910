"""Leaks between splits are found, whatever they look like."""

from __future__ import annotations

import numpy as np
import pytest

from quickstudy.errors import DataError
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits, check_splits, row_hashes


def pool(names: str, seed: int, groups: list[str] | None = None, item: tuple[int, ...] = (1, 5, 5)) -> Pool:
    x = np.random.default_rng(seed).integers(0, 256, (4 * len(names), *item), dtype=np.uint8)
    return Pool.from_arrays(x, np.arange(len(x)) // 4, list(names), groups=groups)


def test_clean_splits_pass_through():
    splits = Splits(pool("ab", 0), pool("cd", 1), pool("ef", 2))
    assert check_splits(splits) is splits


def test_a_shared_class():
    with pytest.raises(
        DataError, match=r"class 'b' is in both train and test \(1 shared\). Keep each class in one split"
    ):
        check_splits(Splits(pool("ab", 0), pool("cd", 1), pool("eb", 2)))


def test_a_shared_group_counts_only_where_asked():
    splits = Splits(pool("ab", 0, ["g", "h"]), pool("cd", 1, ["i", "j"]), pool("ef", 2, ["j", "k"]))
    check_splits(splits)
    with pytest.raises(DataError, match="group 'j' is in both val and test"):
        check_splits(splits, groups=True)


@pytest.mark.parametrize("item", [(1, 5, 5), (3,), (8,), (4, 4)])
def test_a_copied_example_is_found(item: tuple[int, ...]):
    splits = Splits(pool("ab", 0, item=item), pool("cd", 1, item=item), pool("ef", 2, item=item))
    check_splits(splits)
    splits.test.x[6] = splits.train.x[1]
    with pytest.raises(DataError, match=r"class 'a' in train is identical to one of class 'f' in test.*content=False"):
        check_splits(splits)
    check_splits(splits, content=False)


def test_copies_are_found_in_views_of_one_array():
    whole = pool("abcdef", 0)
    whole.x[21] = whole.x[9]  # class c, example 1, again as class f, example 1
    splits = Splits(whole.take([3, 2]), whole.take([0, 1]), whole.take([4, 5]))
    with pytest.raises(DataError, match="class 'c' in train is identical to one of class 'f' in test"):
        check_splits(splits)


def test_splits_of_different_shapes():
    with pytest.raises(
        DataError, match=r"train holds torch.uint8 examples of shape \(1, 5, 5\), val torch.uint8 of \(4,\)"
    ):
        check_splits(Splits(pool("ab", 0), pool("cd", 1, item=(4,)), pool("ef", 2)))


def test_hashes_tell_near_examples_apart():
    # all images with one pixel on, and all pairs: 64 + 2016 different examples, many with equal sums
    eye = np.eye(64, dtype=np.uint8) * 255
    i, j = np.triu_indices(64, 1)
    x = np.concatenate([eye, eye[i] | eye[j]])
    assert len(np.unique(row_hashes(Pool.from_arrays(x, np.zeros(len(x), int))))) == len(x)
