"""Rules for the parts of a learner, each against what it does alone."""

import pytest
import torch

from helpers import random_episodes
from quickstudy import MAML, SGD, Adam, LearnedRates, unroll
from quickstudy.core import tree
from quickstudy.inner.lstm import MetaLSTM
from quickstudy.inner.parted import Parted
from quickstudy.nets import MLP


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def start():
    return {"net.w": normal(3, 4), "head.w": normal(4, 2, seed=1), "net.b": normal(4, seed=2)}


def loss(params, x, y):
    return (torch.tanh(x @ params["net.w"] + params["net.b"]) @ params["head.w"] - y).square().mean()


def test_each_part_steps_by_its_own_rule():
    data = normal(5, 3, seed=3), normal(5, 2, seed=4)
    rule = Parted(body=SGD(rate=0.2), head=Adam(rate=0.1), order="exact")
    end = unroll(loss, start(), data, rule=rule, steps=4)[-1]
    params = {name: leaf.requires_grad_() for name, leaf in start().items()}
    optimizers = (
        torch.optim.SGD([params["net.w"], params["net.b"]], lr=0.2),
        torch.optim.Adam([params["head.w"]], lr=0.1),
    )
    for _ in range(4):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss(params, *data).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert list(end) == list(params)
    for name, leaf in params.items():
        torch.testing.assert_close(end[name], leaf.detach())


def slopes_of(**settings):
    torch.manual_seed(0)
    method = MAML(MLP((3,), hidden=(5,), activation="tanh"), 4, steps=2, **settings).double()
    episode = tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))
    return torch.autograd.grad(method.meta_loss(episode), [*method.net.parameters(), *method.head.parameters()])


def test_a_body_alone_is_first_order_and_a_head_alone_exact():
    rule = Parted(body=SGD(rate=0.3), head=SGD(rate=0.3))
    for adapts, gradient in (("body", "first-order"), ("head", "exact")):
        got = slopes_of(adapts=adapts, rule=rule)
        expected = slopes_of(adapts=adapts, rule=SGD(rate=0.3), gradient=gradient)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("order", ["exact", "first-order"])
def test_a_part_is_told_the_loss_that_its_rule_reads(order):
    """The head alone, beside a body that does not ask, steps as it would by itself; the body's loss is a constant."""
    data = normal(5, 3, seed=3), normal(5, 2, seed=4)
    lstm = MetaLSTM(hidden=2, rate=0.3)
    for rule, part in ((Parted(body=SGD(), head=lstm), "head."), (Parted(body=lstm, head=SGD(), order=order), "net.")):
        assert rule.reads_loss
        learned = rule.learned(start())
        params = {name: leaf.requires_grad_() for name, leaf in start().items()}
        _, after = unroll(loss, params, data, rule=rule, steps=1, learned=learned)
        own = {name: leaf for name, leaf in start().items() if name.startswith(part)}
        rest = {name: leaf for name, leaf in start().items() if name not in own}
        whole = {name.partition(".")[2]: leaf for name, leaf in learned.items()}
        alone = unroll(
            lambda at, rest, *data: loss({**rest, **at}, *data), own, (rest, *data), rule=lstm, steps=1, learned=whole
        )
        for name in own:
            torch.testing.assert_close(after[name], alone[1][name])
    slopes = torch.autograd.grad(after["net.w"].sum(), params["head.w"], allow_unused=True)
    assert (slopes[0] is None or not slopes[0].any()) == (order == "first-order")
    assert not Parted(body=SGD(), head=SGD()).reads_loss


def test_each_part_learns_what_its_rule_learns():
    rule = Parted(body=LearnedRates(per="tensor"), head=LearnedRates())
    assert {name: tuple(leaf.shape) for name, leaf in rule.learned(start()).items()} == {
        "in body.net.w": (),
        "in body.net.b": (),
        "in head.head.w": (4, 2),
    }
