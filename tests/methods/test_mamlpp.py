"""MAML++ against MAML at each of its steps."""

import pytest
import torch

from helpers import random_episodes
from quickstudy import MAML, SGD, Episode
from quickstudy.core import tree
from quickstudy.core.episode import masked_mean
from quickstudy.methods.gradient.mamlpp import MAMLPlusPlus
from quickstudy.nets import MLP


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


def build(norm: str = "none", **settings) -> MAMLPlusPlus:
    torch.manual_seed(0)
    return MAMLPlusPlus(MLP((3,), hidden=(6,), activation="tanh", norm=norm), 4, rate=0.2, **settings).double()


@pytest.mark.parametrize("early", [0.0, 0.3, 1.0])
def test_its_loss_weighs_those_of_maml_after_each_step(early):
    method, episode = build(steps=3, early=early), one()
    maml = MAML(method.net, 4, rule=SGD(rate=0.2)).double()
    maml.head.load_state_dict(method.head.state_dict())
    query = episode.query
    each = [
        masked_mean(maml.predict(maml.adapt_for(episode.support, steps), query.x).nll(query.y), query.mask)
        for steps in (1, 2, 3)
    ]
    expected = early * (each[0] + each[1]) / 2 + (1 - early) * each[2]
    loss = method.meta_loss(episode)
    torch.testing.assert_close(loss, expected)
    slopes = torch.autograd.grad(loss, list(method.net.parameters()))
    for slope, want in zip(slopes, torch.autograd.grad(expected, list(method.net.parameters())), strict=True):
        torch.testing.assert_close(slope, want)


def test_every_layer_and_step_has_a_rate():
    method, episode = build(steps=3), one()
    assert {name: tuple(rate.shape) for name, rate in method.rates.items()} == {
        "net/layers/1/weight": (3,),
        "net/layers/1/bias": (3,),
        "head/weight": (3,),
        "head/bias": (3,),
    }
    with torch.no_grad():
        for rate in method.rates.values():
            rate[1:] = 0
    two, five = (method.adapt_for(episode.support, steps).weights for steps in (1, 5))
    assert all(torch.equal(two[name], five[name]) for name in two)


def test_scales_and_shifts_of_norms_are_learned_and_do_not_step():
    method, episode = build(norm="support", steps=2), one()
    assert not any(name.startswith("net.layers.2") for name in method.adapt(episode.support).weights)
    method.meta_loss(episode).backward()
    assert method.net.layers[2].weight.grad.abs().max() > 0


def test_one_step_has_one_loss():
    method, episode = build(steps=1, early=0.6), one()
    query = episode.query
    said = method.predict(method.adapt(episode.support), query.x)
    torch.testing.assert_close(method.meta_loss(episode), masked_mean(said.nll(query.y), query.mask))
