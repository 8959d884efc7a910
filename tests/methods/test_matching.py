"""Matching networks against the paper's formulas, written out by hand."""

import math

import torch

from helpers import random_episodes
from quickstudy import Episode
from quickstudy.core import tree
from quickstudy.methods.metric.matching import MatchingNet
from quickstudy.nets import Flatten


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


def test_votes_are_weighted_by_a_softmax_of_scaled_cosines():
    """Equations 1 and 2, one query and one example at a time."""
    episode, method = one(), MatchingNet(Flatten((3,)), scale=4.0).double()
    support = episode.support
    said = method.predict(method.adapt(support), episode.query.x)
    for x, p in zip(episode.query.x, said.mean, strict=True):
        weights = [math.exp(4 * float(x @ key / (x.norm() * key.norm()))) for key in support.x]
        votes = [sum(w for w, y in zip(weights, support.y, strict=True) if y[k]) / sum(weights) for k in range(len(p))]
        torch.testing.assert_close(p, torch.tensor(votes, dtype=torch.float64))


def test_a_class_without_support_gets_no_vote_and_no_nan():
    episode, method = one(), MatchingNet(torch.nn.Sequential(torch.nn.Linear(3, 4))).double()
    support = episode.support
    absent = support._replace(mask=support.mask & ~support.y[:, 0].bool())
    said = method.predict(method.adapt(absent), episode.query.x)
    assert (said.mean[:, 0] == 0).all()
    asked = ~episode.query.y[:, 0].bool()
    said.nll(episode.query.y)[asked].sum().backward()
    assert all(weight.grad.isfinite().all() for weight in method.parameters())
