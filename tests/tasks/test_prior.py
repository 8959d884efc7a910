"""Tables of the prior are the same however they are asked for, and worth learning from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quickstudy.core import tree
from quickstudy.core.episode import check_episodes
from quickstudy.errors import SettingsError, TaskError
from quickstudy.tasks.causal import KINDS, tables, values
from quickstudy.tasks.prior import Prior

FIXED = {"ways": 3, "shots": 40, "queries": 30, "features": 6}


@pytest.mark.parametrize("padded", [False, True])
def test_numbers_not_order_make_a_task(padded):
    source = Prior(ways=4, same_shape=10, padded=padded).source("val", seed=4)
    whole, some = source.batch(range(10)), source.batch([7, 2])
    check_episodes(whole, "prior")
    for one, other in zip(tree.leaves(whole), tree.leaves(some), strict=True):
        assert torch.equal(one[[7, 2]], other)


def test_a_table_is_the_same_alone():
    many, one = (tables(5, at, 50, 7, 4) for at in (range(20), [11]))
    assert np.array_equal(many.x[11], one.x[0])
    assert np.array_equal(many.y[11], one.y[0])


def test_padding_changes_no_table():
    plain, padded = (Prior(ways=3, padded=each).source() for each in (False, True))
    wide = padded.batch(range(12))
    assert wide.support.x.shape == (12, 224, 30)
    for i in range(12):
        alone = plain.batch([i])
        for part, whole in zip(alone, wide, strict=True):
            rows, columns = part.x.shape[1:]
            assert int(whole.mask[i].sum()) == rows
            assert torch.equal(whole.x[i, :rows, :columns], part.x[0])
            assert not whole.x[i, :, columns:].any()
            assert torch.equal(whole.y[i, :rows], part.y[0])


def test_every_class_has_a_training_row():
    batch = Prior(ways=10, shots=10, queries=20, features=4).source().batch(range(300))
    assert torch.equal(batch.support.y.sum(1), torch.ones(300, 10, dtype=torch.long))
    assert bool((batch.query.y.sum(-1) == 1).all())
    assert float(batch.query.y.any(1).float().mean()) > 0.5


def test_sizes_fill_their_ranges():
    source = Prior().source()
    sizes = source._sizes(np.arange(3000))
    assert sizes.min(0).tolist() == [2, 24, 32, 2]
    assert sizes.max(0).tolist() == [10, 224, 32, 30]
    assert np.median(sizes[:, 3]) < 12, "narrow tables are likelier"
    for i in range(3):
        support, query = source.batch([i])
        assert [support.y.shape[2], len(support.x[0]), len(query.x[0]), support.x.shape[2]] == sizes[i].tolist()


def test_tables_can_be_told_but_not_all():
    """Nearest class means say more than the most common class of some tables, and little of others."""
    batch = Prior(**FIXED).source().batch(range(400))
    x, y, asked, truth = (each.double() for each in (*batch.support[:2], *batch.query[:2]))
    spread = x.std(1, keepdim=True).clamp(min=1e-6)
    means = (y.transpose(1, 2) @ (x / spread)) / y.sum(1)[..., None]
    said = torch.cdist(asked / spread, means).argmin(-1)
    right = (said == truth.argmax(-1)).double().mean(1)
    common = truth.mean(1).amax(-1)
    gain = right - common
    assert float((gain > 0.2).double().mean()) > 0.1
    assert float((gain < 0.02).double().mean()) > 0.1


def test_columns_are_of_many_kinds():
    x = Prior(**FIXED).source().batch(range(400)).support.x
    distinct = torch.tensor([[len(column.unique()) for column in table.T] for table in x])
    assert float((distinct == 2).float().mean()) > 0.1
    assert float(((distinct > 2) & (distinct <= 8)).float().mean()) > 0.05
    assert float((distinct == 40).float().mean()) > 0.3


def test_no_column_is_the_class():
    """The node that says the class is none of the columns: else a table without doubt could be read off."""
    drawn = tables(1, range(300), 200, 5, 2)
    order = np.take_along_axis(drawn.y[..., None], drawn.x.argsort(1), 1)
    changes = (np.diff(order, axis=1) != 0).sum(1)
    values = np.array([[len(np.unique(column)) for column in table.T] for table in drawn.x])
    assert ((changes == 1) & (values == 200)).mean() < 0.02


def test_classes_are_merged():
    finer = tables(3, range(200), 60, 4, KINDS)
    merged = tables(3, range(200), 60, 4, 2)
    assert finer.y.max() == KINDS - 1
    assert set(np.unique(merged.y)) == {0, 1}


def test_splits_and_seeds_differ():
    sources = [Prior(**FIXED).source(split, seed) for split in ("train", "val", "test") for seed in (0, 1)]
    assert len({s.fingerprint for s in sources}) == 6
    assert len({s.batch([0]).query.x.sum().item() for s in sources}) == 6


def test_flat_batches_are_tables():
    batch = Prior(**FIXED).pool("train", batch=90).batch([0, 1])
    assert batch.query.x.shape == (2, 90, 6)
    assert torch.equal(batch.support.x, batch.query.x)


def test_wrong_sizes_are_refused():
    with pytest.raises(TaskError, match=r"a batch holds one shape\. Set same_shape"):
        Prior().source().batch(range(10))
    with pytest.raises(SettingsError, match=r"shots is a range from 9 to 3; write the lower number first"):
        Prior(ways=2, shots=(9, 3))
    with pytest.raises(SettingsError, match=r"ways is 11; expected numbers from 2 to 10"):
        Prior(ways=11, shots=20)
    with pytest.raises(SettingsError, match=r"Raise shots to 5 or more"):
        Prior(ways=5, shots=(4, 9))


# --- values -----------------------------------------------------------------------------------------------------------


VALUED = {"target": "values", "shots": 60, "queries": 30, "features": 6}


def test_tables_of_classes_are_those_they_were():
    """Records and bundles keep fingerprints from before there were tables of values."""
    assert Prior().source().fingerprint == "990d2f0a768542a6"
    assert Prior(**VALUED).source().fingerprint != Prior(**VALUED | {"target": "classes"}).source().fingerprint


@pytest.mark.parametrize("padded", [False, True])
def test_numbers_not_order_make_a_task_of_values(padded):
    source = Prior(target="values", same_shape=10, padded=padded).source("val", seed=4)
    whole, some = source.batch(range(10)), source.batch([7, 2])
    check_episodes(whole, "prior")
    assert source.likelihood == "gaussian"
    assert whole.query.y.shape[2] == source.outputs == 1
    for one, other in zip(tree.leaves(whole), tree.leaves(some), strict=True):
        assert torch.equal(one[[7, 2]], other)


def test_values_of_padded_tables_of_any_sizes_are_the_same():
    wide = Prior(target="values", padded=True).source().batch(range(8))
    for i in range(8):
        alone = Prior(target="values").source().batch([i])
        for part, whole in zip(alone, wide, strict=True):
            rows = part.x.shape[1]
            assert torch.equal(whole.y[i, :rows], part.y[0])
            assert not whole.y[i, rows:].any()
    with pytest.raises(TaskError, match=r"a batch holds one shape"):
        Prior(target="values").source().batch(range(8))


def test_fewer_rows_than_classes_hold_values():
    assert Prior(target="values", shots=4).source().batch([0]).support.y.shape == (1, 4, 1)


def test_values_can_be_told_but_not_all():
    """Least squares say much of some tables and nothing of others; all values have mean 0 and deviation 1."""
    batch = Prior(**VALUED).source().batch(range(300))
    x, y, asked, truth = (each.double() for each in (*batch.support[:2], *batch.query[:2]))
    both = torch.cat([y, truth], 1)
    torch.testing.assert_close(both.mean(1), torch.zeros(300, 1).double(), atol=1e-6, rtol=0)
    assert float((both.var(1, correction=0) - 1).abs().median()) < 1e-4
    spread, ones = x.std(1, keepdim=True).clamp(min=1e-6), torch.ones(300, 60, 1).double()
    middle = x.mean(1, keepdim=True)
    known = torch.cat([(x - middle) / spread, ones], 2)
    weight = torch.linalg.solve(known.mT @ known + 3 * torch.eye(7).double(), known.mT @ y)
    said = torch.cat([(asked - middle) / spread, ones[:, :30]], 2) @ weight
    left = (said - truth).square().mean((1, 2)) / truth.var(1)[:, 0].clamp(min=1e-6)
    assert float((left < 0.3).double().mean()) > 0.1
    assert float((left > 0.9).double().mean()) > 0.1


def test_values_are_of_many_kinds():
    drawn = values(0, range(300), 100, 4)
    counts = np.array([len(np.unique(each)) for each in drawn.y])
    skew = (drawn.y**3).mean(1)
    assert 0.03 < (counts < 60).mean() < 0.4, "steps and floors"
    assert (np.abs(skew) > 1.5).mean() > 0.05
    assert (np.abs(skew) < 0.3).mean() > 0.2


def test_no_column_is_the_value():
    drawn = values(1, range(300), 100, 5)
    order = drawn.x.argsort(1)
    along = np.take_along_axis(drawn.y[..., None], order, 1)
    sorted_by = (np.diff(along, axis=1) >= 0).all(1) | (np.diff(along, axis=1) <= 0).all(1)
    several = np.array([[len(np.unique(column)) > 50 for column in table.T] for table in drawn.x])
    assert (sorted_by & several).any(1).mean() < 0.1
