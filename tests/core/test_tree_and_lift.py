"""Trees of tensors, and the one task axis."""

import inspect
from typing import Any, NamedTuple

import pytest
import torch

from helpers import random_episodes
from quickstudy import MAML, Categorical, Episode, MetaLearner, ProtoNet, Tags, over_tasks
from quickstudy.core import tree
from quickstudy.core.lift import ASKED_ALONE, NUMBERS, OWN_CONVOLUTIONS, plan
from quickstudy.errors import SettingsError
from quickstudy.nets import Conv4, Flatten


class Pair(NamedTuple):
    first: torch.Tensor
    second: dict


def pair(value: float) -> Pair:
    return Pair(torch.full((2,), value), {"a": torch.tensor(value), "b": (torch.ones(3) * value,)})


def test_stack_and_unstack_are_inverse():
    pairs = [pair(1.0), pair(2.0), pair(3.0)]
    stacked = tree.stack(pairs)
    assert isinstance(stacked, Pair)
    assert stacked.second["b"][0].shape == (3, 3)
    for one, back in zip(pairs, tree.unstack(stacked), strict=True):
        assert isinstance(back, Pair)
        assert all(torch.equal(a, b) for a, b in zip(tree.leaves(one), tree.leaves(back), strict=True))


def test_flatten_and_unflatten_are_inverse():
    flat, spec = tree.flatten(pair(1.5))
    assert [leaf.numel() for leaf in flat] == [2, 1, 3]
    back = tree.unflatten(flat, spec)
    assert isinstance(back, Pair)
    assert back.second["b"][0] is flat[2]


def test_map_leaves_takes_several_trees():
    total = tree.map_leaves(torch.add, pair(1.0), pair(2.0))
    assert total.second["a"] == 3.0


@pytest.mark.parametrize("chunk", [None, 1, 2, 5])
def test_map_equals_loop(chunk):
    episodes = random_episodes(tasks=5)

    def fn(episode: Episode) -> tuple[torch.Tensor, Categorical]:
        logits = episode.query.x.flatten(1)[:, :4] * episode.support.x.mean()
        return Categorical(logits).nll(episode.query.y).mean(), Categorical(logits)

    mapped, looped = over_tasks(fn, episodes, chunk=chunk), over_tasks(fn, episodes, how="loop")
    assert isinstance(mapped[1], Categorical)
    assert mapped[0].shape == (5,)
    for a, b in zip(tree.leaves(mapped), tree.leaves(looped), strict=True):
        torch.testing.assert_close(a, b)


def test_several_batches_go_side_by_side():
    a, b = torch.arange(3.0), torch.arange(3.0) * 10
    for how in ("map", "loop"):
        assert over_tasks(lambda x, y: x + y, a, b, how=how).tolist() == [0.0, 11.0, 22.0]


def test_an_unknown_way_is_refused():
    with pytest.raises(SettingsError, match="how='quickly': tasks are run by 'map' or 'loop'"):
        inspect.unwrap(over_tasks)(torch.sum, torch.ones(2, 2), how="quickly")


class Loops(ProtoNet):
    """A method that says it cannot be mapped."""

    tags = Tags(maps=False)


def planned(
    method: MetaLearner, tasks: int = 200, item: tuple[int, ...] = (1, 28, 28), **asked: Any
) -> tuple[str, int]:
    return plan(method, random_episodes(tasks, ways=5, shots=1, queries=1, item=item), **asked)


def test_a_plan_leaves_nothing_open() -> None:
    image = (1, 28, 28)
    together = NUMBERS["cpu"] // (10 * 28 * 28)
    assert planned(Loops(Flatten(image))) == ("loop", 1)
    assert planned(ProtoNet(Flatten(image)), tasks=1) == ("loop", 1)
    assert planned(ProtoNet(Conv4(image, width=4))) == ("map", together)
    assert planned(ProtoNet(Flatten((1,))), item=(1,)) == ("map", 200)
    assert planned(MAML(Conv4(image, width=4), 5, steps=1)) == ("map", ASKED_ALONE)
    assert planned(MAML(Conv4(image, width=64), 5, steps=1)) == ("loop", 1)
    for width in (4, 64):
        assert planned(MAML(Conv4(image, width=width), 5, steps=1), trains=True) == ("map", OWN_CONVOLUTIONS)
    assert planned(MAML(Conv4(image, width=4), 5, steps=1, adapts="head")) == ("map", together)


def test_a_plan_keeps_what_is_asked() -> None:
    method = ProtoNet(Flatten((1, 28, 28)))
    assert planned(method, how="loop", chunk=7) == ("loop", 1)
    assert planned(method, how="map", chunk=7) == ("map", 7)
    assert planned(method, how="map", tasks=1) == ("map", 1)
    assert planned(method, chunk=1) == ("loop", 1)
