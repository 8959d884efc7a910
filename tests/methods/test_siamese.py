"""Siamese networks, one pair at a time."""

import math

import torch

from helpers import random_episodes
from quickstudy import Episode
from quickstudy.core import tree
from quickstudy.methods.metric.siamese import Siamese
from quickstudy.nets import Flatten


def one(**sizes) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64, **sizes))


def method() -> Siamese:
    made = Siamese(Flatten((3,))).double()
    with torch.no_grad():
        made.alike.weight.copy_(torch.tensor([[-1.0, -0.5, 0.25]]))
        made.alike.bias.fill_(0.75)
    return made


def alike(a, b) -> float:
    """p of section 3.1, with the weights above."""
    distance = [abs(float(p) - float(q)) for p, q in zip(a, b, strict=True)]
    return 1 / (1 + math.exp(distance[0] + 0.5 * distance[1] - 0.25 * distance[2] - 0.75))


def test_loss_is_binary_cross_entropy_over_balanced_pairs():
    episode = one()
    same, other = [], []
    for x, y in zip(episode.query.x, episode.query.y, strict=True):
        for key, label in zip(episode.support.x, episode.support.y, strict=True):
            p = alike(x, key)
            if torch.equal(y, label):
                same.append(-math.log(p))
            else:
                other.append(-math.log(1 - p))
    expected = (sum(same) / len(same) + sum(other) / len(other)) / 2
    torch.testing.assert_close(method().meta_loss(episode), torch.tensor(expected, dtype=torch.float64))


def test_a_query_is_of_the_class_of_its_most_alike_support():
    episode, made = one(shots=3), method()
    said = made.predict(made.adapt(episode.support), episode.query.x)
    for x, p in zip(episode.query.x, said.mean, strict=True):
        scores = [alike(x, key) for key in episode.support.x]
        best = episode.support.y[scores.index(max(scores))]
        assert p.argmax() == best.int().argmax()


def test_a_class_without_support_has_none_alike():
    episode, made = one(), method()
    absent = episode.support._replace(mask=~episode.support.y[:, 1])
    assert not made.predict(made.adapt(absent), episode.query.x).mean[:, 1].any()
    assert torch.isfinite(made.meta_loss(Episode(absent, episode.query)))


def test_a_task_of_one_class_has_no_pairs_of_two():
    assert torch.isfinite(method().meta_loss(one(ways=1)))
