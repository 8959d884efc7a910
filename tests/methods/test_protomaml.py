"""Proto-MAML between prototypical networks and MAML."""

import pytest
import torch

from helpers import random_episodes
from quickstudy import MAML, SGD, Episode, ProtoNet
from quickstudy.core import tree
from quickstudy.methods.gradient.protomaml import ProtoMAML
from quickstudy.nets import MLP


def one(**sizes) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64, **sizes))


def body(norm: str = "support") -> MLP:
    torch.manual_seed(0)
    return MLP((3,), hidden=(6,), activation="tanh", norm=norm).double()


@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_before_any_step_it_is_a_prototypical_network(temperature):
    net, episode = body(), one()
    method = ProtoMAML(net, temperature=temperature).double()
    proto = ProtoNet(net, temperature=temperature).double()
    said = method.predict(method.adapt_for(episode.support, 0), episode.query.x)
    expected = proto.predict(proto.adapt(episode.support), episode.query.x)
    torch.testing.assert_close(said.mean, expected.mean)
    still = ProtoMAML(net, steps=0, temperature=temperature).double()
    slopes = torch.autograd.grad(still.meta_loss(episode), list(net.parameters()))
    expected_slopes = torch.autograd.grad(proto.meta_loss(episode), list(net.parameters()))
    for slope, want in zip(slopes, expected_slopes, strict=True):
        torch.testing.assert_close(slope, want)


def test_its_steps_are_those_of_maml_from_that_head():
    net, episode = body(), one()
    method = ProtoMAML(net, steps=3, rule=SGD(rate=0.1)).double()
    maml = MAML(net, 4, steps=3, rule=SGD(rate=0.1)).double()
    start = method.adapt_for(episode.support, 0).weights
    with torch.no_grad():
        maml.head.weight.copy_(start["head.weight"])
        maml.head.bias.copy_(start["head.bias"])
    for name, weight in maml.adapt(episode.support).weights.items():
        torch.testing.assert_close(method.adapt(episode.support).weights[name], weight)


def test_a_class_without_support_is_not_predicted():
    net, episode = body(), one()
    held = ~episode.support.y[:, 2]
    method = ProtoMAML(net).double()
    learner = method.adapt(episode.support._replace(mask=held))
    mean = method.predict(learner, episode.query.x).mean
    assert (mean[:, 2] < 1e-12).all()
    assert torch.isfinite(mean).all()
