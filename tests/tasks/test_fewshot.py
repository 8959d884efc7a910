"""Episodes are functions of their number, hold what they claim, and are drawn fairly."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy import Episode, ProtoNet, over_tasks
from quickstudy.core.episode import check_episodes, to_device
from quickstudy.errors import SettingsError, TaskError
from quickstudy.nets import MLP
from quickstudy.tasks.fewshot import ArrayTasks, FewShotSource, FlatSource
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits


def telling(classes: int = 9, each: int = 12, name: str = "telling") -> Pool:
    """A pool whose every example says (class, number)."""
    x = np.stack(np.meshgrid(np.arange(classes), np.arange(each), indexing="ij"), -1).reshape(-1, 2)
    return Pool.from_arrays(x.astype(np.uint8), x[:, 0], [f"class{k}" for k in range(classes)], name=name)


def hashed(episodes: Episode) -> str:
    parts = [leaf.numpy().tobytes() for part in episodes for leaf in part]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def same(one: Episode, two: Episode) -> bool:
    return all(torch.equal(a, b) for p, q in zip(one, two, strict=True) for a, b in zip(p, q, strict=True))


def pick(episodes: Episode, at: list[int]) -> Episode:
    return Episode(*(type(part)(*(leaf[at] for leaf in part)) for part in episodes))


VARYING = {"ways": (2, 5), "shots": (1, 3), "queries": (1, 4), "same_shape": 8}


@given(st.permutations(range(8)), st.integers(1, 8), st.sampled_from([{}, VARYING, {"variants": 3, "ways": 3}]))
def test_order_and_grouping_change_nothing(order: list[int], size: int, sizes: dict[str, int]):
    source = FewShotSource(telling(), **({"queries": 4} | sizes))  # type: ignore[arg-type]
    at = np.array(order) + 16
    whole = source.batch(range(16, 24))
    assert same(source.batch(at), pick(whole, order))
    for first in range(0, 8, size):
        assert same(source.batch(at[first : first + size].tolist()), pick(whole, order[first : first + size]))


def test_another_process_draws_the_same_episodes():
    here = hashed(FewShotSource(telling(), queries=4, seed=3).batch([5, 10**12]))
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_fewshot import *;"
        "print(hashed(FewShotSource(telling(), queries=4, seed=3).batch([5, 10**12])))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_the_episodes_of_this_version_are_fixed():
    # A changed value here means that recorded results no longer say which episodes they were measured on.
    assert hashed(FewShotSource(telling(), queries=4, seed=0).batch(range(4)))[:16] == "ef21163a9d7a9c69"


@pytest.mark.parametrize("sizes", [{"ways": 5, "shots": 2, "queries": 3}, {"ways": 9, "shots": 5, "queries": 7}])
def test_labels_tell_the_class_and_no_example_is_used_twice(sizes: dict[str, int]):
    source = FewShotSource(telling(), **sizes)  # type: ignore[arg-type]
    episodes = source.batch(range(50))
    check_episodes(episodes, "here")
    classes = source.classes(range(50))
    ways = sizes["ways"]
    assert classes.shape == (50, ways)
    assert all(len(set(row)) == ways for row in classes.tolist())
    for part, each in zip(episodes, (sizes["shots"], sizes["queries"]), strict=True):
        assert part.x.shape == (50, ways * each, 2)
        assert part.y.shape == (50, ways * each, ways)
        assert part.y.sum(1).eq(each).all()
        assert part.mask.all()
        assert np.array_equal(part.x[..., 0].numpy(), np.take_along_axis(classes, part.y.int().argmax(-1).numpy(), 1))
    drawn = torch.cat([episodes.support.x, episodes.query.x], 1).tolist()
    assert all(len({tuple(x) for x in task}) == len(task) for task in drawn)


def test_any_first_part_of_the_examples_is_balanced():
    y = FewShotSource(telling(), ways=4, shots=3, queries=2).batch([0]).support.y[0].int().argmax(-1)
    assert y.tolist() == [0, 1, 2, 3] * 3


def test_classes_and_examples_are_drawn_evenly():
    source = FewShotSource(telling(4, 5), ways=2, shots=1, queries=1)
    tasks = 24_000
    episodes = source.batch(range(tasks))
    pairs = np.bincount(source.classes(range(tasks)) @ [4, 1], minlength=16).reshape(4, 4)
    off = ~np.eye(4, dtype=bool)
    assert (pairs[~off] == 0).all()
    # 12 ordered pairs of classes; and for each way, 20 ordered (support, query) pairs of examples
    chi2 = ((pairs[off] - tasks / 12) ** 2 / (tasks / 12)).sum()
    assert chi2 < 36  # 11 degrees of freedom: beyond 36 once in 6,000
    for way in range(2):
        at = episodes.support.x[:, way, 1].long() * 5 + episodes.query.x[:, way, 1].long()
        counts = np.bincount(at.numpy(), minlength=25).reshape(5, 5)
        chi2 = ((counts[~np.eye(5, dtype=bool)] - tasks / 20) ** 2 / (tasks / 20)).sum()
        assert chi2 < 48  # 19 degrees of freedom
    # ways do not influence one another
    joint = np.bincount((episodes.support.x[:, 0, 1].long() * 5 + episodes.support.x[:, 1, 1].long()).numpy())
    assert ((joint - tasks / 25) ** 2 / (tasks / 25)).sum() < 55  # 24 degrees of freedom


def test_more_shots_keep_the_queries_and_the_first_supports():
    few, many = (FewShotSource(telling(), shots=shots, queries=4).batch(range(20)) for shots in (1, 5))
    assert torch.equal(few.query.x, many.query.x)
    assert torch.equal(few.support.x, many.support.x[:, :5])


def test_ranges_are_drawn_from_and_shared_by_a_batch():
    source = FewShotSource(telling(), **VARYING)  # type: ignore[arg-type]
    assert source.outputs == 5
    seen = set()
    for batch in itertools.islice(source.batches(8), 200):
        ways, queries = batch.query.y.shape[2], batch.query.y.shape[1] // batch.query.y.shape[2]
        seen.add((ways, batch.support.y.shape[1] // ways, queries))
    assert seen == set(itertools.product(range(2, 6), range(1, 4), range(1, 5)))
    with pytest.raises(
        TaskError, match=r"episodes 0 and 8 have .ways, shots, queries.*Set same_shape to your batch size"
    ):
        source.batch(range(400))


def test_an_episode_takes_one_variant_of_a_class():
    source = FewShotSource(telling(9), ways=3, shots=1, queries=2, variants=3)
    x = source.batch(range(300)).support.x[..., 0].numpy()
    assert all(sorted(row) == [0, 1, 2] for row in (x // 3).tolist())
    assert set((x % 3).reshape(-1).tolist()) == {0, 1, 2}
    assert np.array_equal(x // 3, source.classes(range(300)))
    with pytest.raises(TaskError, match=r"telling has 3 classes, but ways is 4\. Lower ways to 3 or less"):
        FewShotSource(telling(9), ways=4, variants=3, queries=2)


def test_other_seeds_and_pools_are_other_sequences_and_sizes_other_fingerprints():
    base = FewShotSource(telling(), queries=4)
    others = [
        FewShotSource(telling(), queries=4, seed=1),
        FewShotSource(telling(name="other"), queries=4),
        FewShotSource(telling(), queries=3),
        FewShotSource(telling(), queries=4, shots=2),
        FewShotSource(telling(), queries=4, ways=4),
        FewShotSource(telling(), queries=4, same_shape=2),
        FewShotSource(telling(8), queries=4),
    ]
    assert len({source.fingerprint for source in [base, *others]}) == 8
    for source in others[:2]:
        assert not torch.equal(source.batch(range(9)).query.x, base.batch(range(9)).query.x)
    assert base.digest([1, 2]) != base.digest([2, 1])


def test_training_may_take_the_validation_classes_too():
    pool = telling()
    tasks = ArrayTasks(
        splits=Splits(pool.take(range(4)), pool.take(range(4, 6)), pool.take(range(6, 9))), ways=6, queries=3
    )
    seen = tasks.source("train+val").batch(range(20)).support.x[..., 0].unique()
    assert seen.tolist() == [0, 1, 2, 3, 4, 5]
    assert tasks.pool("train+val").outputs == 6


def test_flat_batches_cover_all_classes_with_right_labels():
    pool = telling(6, 4).take([5, 1, 2, 0])
    source = FlatSource(pool, batch=30)
    batch = source.batch(range(40))
    assert batch.query.x.shape == (40, 30, 2)
    assert source.outputs == 4
    label = batch.query.y.int().argmax(-1)
    assert torch.equal(torch.tensor([5, 1, 2, 0])[label], batch.query.x[..., 0].long())
    seen = {tuple(x) for x in batch.query.x.reshape(-1, 2).tolist()}
    assert len(seen) == 16
    assert same(source.batch([7, 3]), pick(batch, [7, 3]))
    assert batch.support is batch.query
    assert np.array_equal(source.classes([0, 1]), np.tile(np.arange(4), (2, 1)))
    assert source.class_names == ["class5", "class1", "class2", "class0"]
    assert source.fingerprint != FlatSource(pool, batch=31).fingerprint


def test_flat_batches_join_variants():
    batch = FlatSource(telling(6), batch=64, variants=3).batch([0])
    assert torch.equal(batch.query.y.int().argmax(-1), batch.query.x[..., 0].long() // 3)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"ways": 10}, "telling has 9 classes, but ways is 10. Lower ways to 9 or less"),
        ({"shots": 2, "queries": 11}, r"class 'class0' of telling has 12 examples, but 2 support \+ 11 query need 13. "
         "Lower queries to 10, or drop the class with min_examples=13"),
        ({"shots": 12}, "Lower shots and queries to 12 together, or drop"),
    ],
)  # fmt: skip
def test_what_a_pool_cannot_give(sizes: dict[str, int], message: str):
    with pytest.raises(TaskError, match=message):
        FewShotSource(telling(), **({"queries": 4} | sizes))  # type: ignore[arg-type]


@pytest.mark.parametrize("indices", [[], [-1], [[1]]])
def test_episodes_that_have_no_number(indices: list[int]):
    with pytest.raises(TaskError, match="list of episode numbers, 0 or more each; got"):
        FewShotSource(telling(), queries=4).batch(indices)


def trio(dtype: type = np.uint8) -> Splits:
    rng = np.random.default_rng(0)

    def one(split: str, classes: int) -> Pool:
        x = rng.integers(0, 256, (classes * 8, 1, 4, 4)).astype(dtype)
        return Pool.from_arrays(x, np.arange(classes * 8) // 8, [f"{split}{k}" for k in range(classes)], name=split)

    return Splits(one("train", 6), one("val", 5), one("test", 5))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_arrays_of_ones_own_feed_a_method(dtype: type):
    tasks = ArrayTasks(splits=trio(dtype), queries=4)
    source = tasks.source("train")
    method = ProtoNet(MLP(source.item, hidden=(8,)))
    losses = over_tasks(method.meta_loss, to_device(source.batch(range(3)), "cpu"))
    assert torch.isfinite(losses).all()
    assert tasks.pool("val", batch=7).batch([0]).query.y.shape == (1, 7, 5)


def test_families_read_ranges_and_other_sizes():
    tasks = ArrayTasks(splits=trio(), ways=[2, 3], queries=3)  # type: ignore[arg-type]
    assert tasks.ways == (2, 3)
    assert dataclasses.replace(tasks, ways=5, shots=2).source("test", 1).batch([0]).support.y.shape == (1, 10, 5)
    with pytest.raises(SettingsError, match="ways is a range from 3 to 2; write the lower number first"):
        ArrayTasks(splits=trio(), ways=(3, 2))
    with pytest.raises(SettingsError, match="greater than or equal to 1"):
        ArrayTasks(splits=trio(), shots=0)


def test_min_examples_drops_what_is_too_small():
    splits = trio()
    small = Pool.from_arrays(splits.train.x[:44], np.arange(44) // 8, [f"train{k}" for k in range(6)], name="train")
    tasks = ArrayTasks(splits=splits._replace(train=small), queries=7)
    with pytest.raises(TaskError, match=r"class 'train5' of train has 4 examples.*min_examples=8"):
        tasks.source("train")
    assert dataclasses.replace(tasks, min_examples=8).source("train").class_names == [f"train{k}" for k in range(5)]
