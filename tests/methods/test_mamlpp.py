"""MAML++ against MAML at each of its steps."""

import pytest
import torch

from helpers import random_episodes
from quickstudy import MAML, SGD, Episode, Training, fit, over_tasks
from quickstudy.core import tree
from quickstudy.core.episode import masked_mean, to_device
from quickstudy.methods.gradient.mamlpp import MAMLPlusPlus
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines
from quickstudy.train.compiled import WholeStep


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


def test_its_loss_moves_to_the_last_step_as_training_goes_on():
    method, episode = build(steps=3, early=0.1, annealed=0.5), one()
    each = method.meta_loss(episode)
    method.reach(0.0)
    even = method.meta_loss(episode)
    method.reach(0.25)
    half = method.meta_loss(episode)
    method.reach(0.5)
    torch.testing.assert_close(method.meta_loss(episode), each)
    torch.testing.assert_close(half, (even + each) / 2)
    method.early = 2 / 3  # what even weights of three steps are
    method.reach(1.0)
    torch.testing.assert_close(method.meta_loss(episode), even)


def waves(**settings) -> MAMLPlusPlus:
    torch.manual_seed(0)
    return MAMLPlusPlus(MLP((1,), hidden=(6,)), 1, rate=0.01, likelihood="gaussian", **settings)


def test_training_tells_it_how_far_it_has_come(monkeypatch):
    told, method = [], waves(first_order=0.5)
    reach = method.reach

    def noted(done):
        reach(done)
        told.append((done, method.stage))

    monkeypatch.setattr(method, "reach", noted)
    for _ in fit(method, Sines(shots=4, queries=4).source("train"), Training(steps=4, batch=2)):
        pass
    assert told == [(0.0, "first-order"), (0.25, "first-order"), (0.5, "exact"), (0.75, "exact")]


def test_a_compiled_step_follows():
    method, source = waves(first_order=0.5), Sines(shots=4, queries=4).source("train")
    episodes = to_device(source.batch(range(2)), torch.device("cpu"))
    step = WholeStep(method, backend="eager")
    found = {}
    for done in (0.0, 0.4, 0.9):
        method.reach(done)
        loss, slopes = step(episodes)
        method.zero_grad()
        eager = over_tasks(method, episodes, how="loop").mean()
        eager.backward()
        torch.testing.assert_close(loss, eager.detach())
        for name, weight in method.named_parameters():
            torch.testing.assert_close(slopes[name], weight.grad)
        found[done] = loss
    assert found[0.0] != found[0.4]
