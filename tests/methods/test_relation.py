"""Relation networks, one pair at a time."""

import pytest
import torch
from torch import nn

from helpers import random_episodes
from quickstudy import Episode
from quickstudy.checks import check_method
from quickstudy.core import tree
from quickstudy.methods.metric.relation import RelationNet
from quickstudy.nets import Conv4, Flatten
from quickstudy.nets.pooling import MaxPool

ITEM = (1, 16, 16)


def one(item=(3,), **sizes) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=item, dtype=torch.float64, **sizes))


def on_maps(**settings) -> RelationNet:
    torch.manual_seed(0)
    return RelationNet(Conv4(ITEM, width=4, norm="none", halvings=2), width=8, **settings).double()


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_scores_are_of_a_query_behind_the_sum_of_a_class(pooling):
    """Equation 1 for k shots, one query and one class at a time, and equation 2."""
    method, episode = on_maps(pooling=pooling), one(ITEM, shots=3)
    assert method.maps == (4, 4, 4)
    said = method.predict(method.adapt(episode.support), episode.query.x)
    support = method.net(episode.support.x).view(-1, 4, 4, 4)
    error = 0.0
    for x, y, logits in zip(episode.query.x, episode.query.y, said.logits, strict=True):
        of_query = method.net(x[None]).view(1, 4, 4, 4)
        for k, logit in enumerate(logits):
            members = support[episode.support.y[:, k]]
            of_class = (members.sum(0) if pooling == "sum" else members.mean(0))[None]
            expected = method.relation(torch.cat([of_class, of_query], 1)).squeeze()
            torch.testing.assert_close(logit, expected)
            error += (expected.sigmoid() - float(y[k])) ** 2
    torch.testing.assert_close(method.meta_loss(episode), error / len(episode.query.x))


def test_the_module_reads_maps_down_to_a_score():
    """The paper's: two blocks of 3x3 convolution and pooling, then two linear layers."""
    layers = RelationNet(Conv4((1, 28, 28), halvings=2)).relation
    block = [nn.Conv2d, nn.GroupNorm, nn.ReLU, MaxPool]
    kinds = [*block, *block, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert all(isinstance(layer, kind) for layer, kind in zip(layers, kinds, strict=True))
    assert layers[0].weight.shape == (64, 128, 3, 3)
    assert layers[9].weight.shape == (8, 64)  # 7 x 7 pixels become 3 x 3, and one


def test_vectors_make_convolutions_linear():
    torch.manual_seed(0)
    method, episode = RelationNet(Flatten((3,)), width=4, norm="none").double(), one()
    learner = method.adapt(episode.support)
    first, second, hidden, last = (layer for layer in method.relation if hasattr(layer, "weight"))
    pair = torch.cat([learner.maps[2], episode.query.x[5]])
    z = (first.weight.flatten(1) @ pair + first.bias).relu()
    z = (second.weight.flatten(1) @ z + second.bias).relu()
    expected = last(hidden(z).relu())
    torch.testing.assert_close(method.predict(learner, episode.query.x).logits[5, 2], expected[0])


def test_a_class_without_support_is_never_predicted():
    method, episode = on_maps(), one(ITEM)
    absent = episode.support._replace(mask=~episode.support.y[:, 2])
    said = method.predict(method.adapt(absent), episode.query.x)
    assert not said.mean[:, 2].any()
    loss = method.meta_loss(Episode(absent, episode.query))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(weight.grad.isfinite().all() for weight in method.parameters())


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_contract_on_maps(loss):
    found = check_method(
        "relation",
        {"loss": loss, "width": 4},
        net={"name": "conv4", "width": 4, "halvings": 2, "norm": "support"},
        item=(1, 8, 8),
        only=["loop equals map", "no query leak", "padding", "support order", "relabelling", "any ways"],
    )
    assert [(each.name, each.reason) for each in found if not each.passed] == []
