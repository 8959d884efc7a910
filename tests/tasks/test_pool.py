"""Pools hold what they were given, class by class, and refuse what cannot be learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import TensorDataset

from quickstudy.errors import DataError
from quickstudy.tasks.pool import Pool


def some(n: int = 12, classes: int = 3, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8), rng.permutation(np.arange(n) % classes)


def rows(pool: Pool, at: int) -> NDArray[np.uint8]:
    return pool.x[pool.starts[at] : pool.starts[at] + pool.counts[at]].numpy()


@pytest.mark.parametrize("as_torch", [False, True])
def test_from_arrays_groups_by_class_in_the_order_given(as_torch: bool):
    x, y = some()
    pool = Pool.from_arrays(*(map(torch.from_numpy, (x, y)) if as_torch else (x, y)), names=["a", "b", "c"])
    assert (pool.classes, pool.item, pool.names) == (3, (1, 4, 4), ["a", "b", "c"])
    for k in range(3):
        assert np.array_equal(rows(pool, k), x[y == k])


def test_labels_may_be_text_and_name_the_classes():
    pool = Pool.from_arrays(np.zeros((3, 2), np.float32), ["b", "a", "b"])
    assert pool.names == ["a", "b"]
    assert pool.counts.tolist() == [1, 2]


def test_bool_images_become_ink():
    pool = Pool.from_arrays(np.array([[True, False]]), [0])
    assert pool.x.tolist() == [[255, 0]]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_other_floats_become_float32(dtype: str):
    pool = Pool.from_arrays(np.array([[0.5, -2.0]], dtype=dtype), [0])
    assert pool.x.dtype == torch.float32
    assert pool.x.tolist() == [[0.5, -2.0]]


def test_bfloat16_tensors_become_float32():
    assert Pool.from_arrays(torch.ones(1, 2, dtype=torch.bfloat16), torch.tensor([0])).x.dtype == torch.float32


@pytest.mark.parametrize("mode", ["r", "c"])
def test_a_memory_map_in_class_order_is_not_copied(tmp_path: Path, mode: str):
    x, y = some()
    np.save(tmp_path / "x.npy", x[np.argsort(y, kind="stable")])
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    pool = Pool.from_arrays(mapped, np.sort(y))
    assert np.shares_memory(pool.x.numpy(), mapped)
    assert pool.fingerprint == Pool.from_arrays(x, y).fingerprint


def test_taking_classes_shares_memory():
    x, y = some()
    pool = Pool.from_arrays(x, y, ["a", "b", "c"], groups=["g", "g", "h"])
    part = pool.take([2, 0])
    assert part.names == ["c", "a"]
    assert part.groups == ["h", "g"]
    assert np.array_equal(rows(part, 0), x[y == 2])
    assert np.shares_memory(part.x.numpy(), pool.x.numpy())


@pytest.mark.parametrize("shared", [True, False])
def test_joined_pools_hold_the_classes_of_all(shared: bool):
    x = np.arange(24, dtype=np.uint8).reshape(12, 2)
    y = np.repeat(["a", "b", "c", "d"], 3)
    one = Pool.from_arrays(x, y, groups=["g", "g", "h", "h"], name="p")
    parts = (
        [one.take([2, 0]), one.take([3])]
        if shared
        else [
            Pool.from_arrays(x[6:9], y[6:9], groups=["h"]),
            Pool.from_arrays(x[[0, 1, 2, 9, 10, 11]], y[[0, 1, 2, 9, 10, 11]], groups=["g", "h"]),
        ]
    )
    joined = Pool.join(parts)
    assert (joined.names, joined.groups) == (["c", "a", "d"], ["h", "g", "h"])
    assert (joined.x.data_ptr() == one.x.data_ptr()) == shared
    assert joined.fingerprint == one.take([2, 0, 3]).fingerprint
    with pytest.raises(DataError, match="'a' is used twice"):
        Pool.join([one, one])
    with pytest.raises(DataError, match=r"different shapes cannot be joined: p \(2,\), pool \(1,\)"):
        Pool.join([one, Pool.from_arrays(np.zeros((2, 1)), ["e", "f"])])


def test_at_least_leaves_out_small_classes():
    pool = Pool.from_arrays(np.zeros((6, 2), np.uint8), [0, 0, 0, 1, 2, 2])
    assert pool.at_least(1) is pool
    assert pool.at_least(2).names == ["0", "2"]
    with pytest.raises(DataError, match=r"no class has 4 examples; the largest has 3\. Set min_examples to 3"):
        pool.at_least(4)


def test_the_fingerprint_depends_on_content_classes_and_names_alone():
    x, y = some()
    whole = Pool.from_arrays(x, y).fingerprint
    order = np.argsort(y, kind="stable")
    assert Pool.from_arrays(x[order], y[order], name="elsewhere").fingerprint == whole
    # the same classes scattered over a larger array
    padded = np.concatenate([rows(Pool.from_arrays(x, y), k) if k < 3 else x for k in (2, 3, 0, 1)])
    view = Pool(padded, [4 + 12, 4 + 12 + 4, 0], [4, 4, 4], ["0", "1", "2"])
    assert view.fingerprint == whole
    touched = x.copy()
    touched[3, 0, 0, 0] ^= 1
    assert Pool.from_arrays(touched, y).fingerprint != whole
    assert Pool.from_arrays(x, y, ["0", "1", "z"]).fingerprint != whole
    moved = y.copy()
    moved[np.flatnonzero(y == 0)[-1]] = 1
    assert Pool.from_arrays(x, moved).fingerprint != whole


def test_any_map_style_dataset():
    x, y = some()
    pool = Pool.from_dataset(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)))
    assert pool.fingerprint == Pool.from_arrays(x, y).fingerprint


class Pictures(list):  # type: ignore[type-arg]
    classes = ("cat", "dog", "eel")


def test_datasets_of_pictures_name_their_classes():
    colour = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    pool = Pool.from_dataset(Pictures([(Image.fromarray(colour), 2), (Image.fromarray(colour), 0)]))
    assert pool.names == ["cat", "eel"]
    assert np.array_equal(pool.x[0].numpy(), colour.transpose(2, 0, 1))
    grey = Pool.from_dataset([(Image.fromarray(colour[..., 0]), 0)])
    assert grey.item == (1, 2, 3)


def test_datasets_that_cannot_be_pooled():
    ones = np.ones((1, 2, 2), np.uint8)
    with pytest.raises(DataError, match=r"entry 1 has shape \(1, 2, 3\), entry 0 has \(1, 2, 2\).*Resize or pad"):
        Pool.from_dataset([(ones, 0), (np.ones((1, 2, 3), np.uint8), 0)])
    with pytest.raises(DataError, match=r"list: entry 1 is ndarray; expected a pair of an input and its label"):
        Pool.from_dataset([(ones, 0), ones])
    with pytest.raises(DataError, match="mine: the dataset is empty; a pool needs at least one example"):
        Pool.from_dataset([], name="mine")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_values_that_are_no_numbers_name_their_class(bad: float):
    x = np.zeros((4, 3))
    x[2, 1] = bad
    with pytest.raises(
        DataError, match="1 of the 2 examples of class 'b' hold NaN or infinite values, first example 0"
    ):
        Pool.from_arrays(x, ["a", "a", "b", "b"])


def test_nan_outside_of_the_classes_taken_is_not_seen():
    x = np.zeros((4, 3), np.float32)
    x[3] = np.nan
    assert Pool(x, [0], [3], ["a"]).classes == 1


ONE = np.zeros((2, 3), np.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pool.from_arrays(ONE.astype(int), [0, 1]), "examples are int64; expected uint8 .*or floating point"),
        (lambda: Pool.from_arrays(torch.zeros(2, 3, dtype=torch.int32), [0, 1]), "examples are int32; expected uint8"),
        (lambda: Pool.from_arrays(ONE[:, 0], [0, 1]), r"shape \(2,\); expected \[n, \*item\]. Use reshape\(-1, 1\)"),
        (lambda: Pool.from_arrays(ONE, [0]), "2 examples but 1 labels. Give one label an example"),
        (lambda: Pool.from_arrays(ONE, [0.0, np.nan]), r"labels are float64 of shape \(2,\); expected one integer"),
        (lambda: Pool.from_arrays(ONE, torch.eye(2)), r"labels are float32 of shape \(2, 2\).*Use argmax"),
        (lambda: Pool.from_arrays(ONE, [0, 1], ["a"]), "got 1 names, 2 starts, 2 counts. Give one of each"),
        (lambda: Pool.from_arrays(ONE, [0, 1], groups=["a"]), "got 2 names, 2 starts, 2 counts, 1 groups"),
        (lambda: Pool.from_arrays(ONE, [0, 1], ["a", "a"]), "the class name 'a' is used twice"),
        (lambda: Pool.from_arrays(ONE[:0], np.zeros(0, int)), "no examples; a pool needs at least one class"),
        (lambda: Pool(ONE, [0, 2], [2, 0], ["a", "b"]), "class 'b' has no examples. Add some, or leave it out"),
        (lambda: Pool(ONE, [1], [2], ["a"], name="p"), "p: classes reach from row 1 to 3, but there are 2 rows"),
    ],
)
def test_refused(make, message: str):  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        make()


def test_repr_says_what_there_is():
    assert repr(Pool.from_arrays(ONE, [0, 1], name="p")) == "Pool('p', classes=2, examples=2, item=(3,))"
