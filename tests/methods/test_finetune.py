"""Conventional training and fine-tuning, against torch's own layers and optimisers."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers import random_episodes
from quickstudy import Adam, Episode
from quickstudy.core import tree
from quickstudy.methods.gradient.finetune import FineTune
from quickstudy.nets import MLP, Flatten


def one(**sizes) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64, **sizes))


def method(**settings) -> FineTune:
    torch.manual_seed(0)
    return FineTune(MLP((3,), hidden=(6,), activation="tanh"), 5, 20, **settings).double()


def test_meta_loss_is_cross_entropy_over_the_pool():
    learned = method()
    x, labels = torch.randn(10, 3, dtype=torch.float64), torch.arange(10) * 2
    mask = torch.ones(10, dtype=torch.bool)
    mask[7:] = False
    batch = one().query._replace(x=x, y=F.one_hot(labels, 20).bool(), mask=mask)
    expected = F.cross_entropy(learned.head(learned.net(x[:7])), labels[:7])
    torch.testing.assert_close(learned.meta_loss(Episode(batch, batch)), expected)


def test_a_linear_probe_is_a_linear_layer_on_frozen_features():
    learned, episode = method(steps=12, rule=Adam(rate=0.05)), one(ways=4)
    learner = learned.adapt(episode.support)
    probe = nn.Linear(6, 4).double()
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    features, labels = learned.net(episode.support.x).detach(), episode.support.y.int().argmax(-1)
    optimizer = torch.optim.Adam(probe.parameters(), lr=0.05)
    for _ in range(12):
        optimizer.zero_grad()
        F.cross_entropy(probe(features), labels).backward()
        optimizer.step()
    torch.testing.assert_close(learner.weights["head.weight"], probe.weight.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(learner.weights["head.bias"], probe.bias.detach(), rtol=1e-5, atol=1e-6)
    said = learned.predict(learner, episode.query.x)
    torch.testing.assert_close(said.logits, probe(learned.net(episode.query.x)), rtol=1e-5, atol=1e-6)


def test_fine_tuning_moves_a_copy_of_everything():
    learned, episode = method(adapts="all", steps=3), one(ways=4)
    before = {name: value.clone() for name, value in learned.state_dict().items()}
    learner = learned.adapt(episode.support)
    assert set(learner.weights) == {
        "head.weight",
        "head.bias",
        *(f"net.{n}" for n, _ in learned.net.named_parameters()),
    }
    assert all(torch.equal(value, learned.state_dict()[name]) for name, value in before.items())
    assert not torch.equal(learner.weights["net.layers.1.weight"], learned.net.layers[1].weight)


def test_no_steps_are_no_adaptation():
    learned = method(steps=0)
    for ways in (2, 7):
        episode = one(ways=ways)
        said = learned.predict(learned.adapt(episode.support), episode.query.x)
        torch.testing.assert_close(said.mean, torch.full_like(said.mean, 1 / ways))


def test_real_values_start_from_the_trained_head():
    torch.manual_seed(0)
    learned = FineTune(Flatten((3,)), 1, 1, steps=0, likelihood="gaussian").double()
    x = torch.randn(4, 3, dtype=torch.float64)
    examples = one().support._replace(x=x, y=torch.zeros(4, 1).double(), mask=torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(learned.predict(learned.adapt(examples), x).mean, learned.head(x))
