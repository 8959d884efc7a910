"""Prototypical networks against the paper's formulas, written out by hand."""

import math

import pytest
import torch

from helpers import random_episodes
from quickstudy import Episode, ProtoNet
from quickstudy.core import tree
from quickstudy.errors import SettingsError
from quickstudy.methods.metric.protonet import squared_distances
from quickstudy.nets import Conv4, Flatten


def one(**sizes) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64, **sizes))


def probabilities(episode: Episode, closeness) -> torch.Tensor:
    """Equations 1 and 2, one class and one query at a time."""
    labels = episode.support.y.int().argmax(-1).tolist()
    means = []
    for k in range(episode.support.y.shape[-1]):
        members = [x for x, label in zip(episode.support.x, labels, strict=True) if label == k]
        means.append(sum(members) / len(members))
    rows = []
    for x in episode.query.x:
        e = [math.exp(closeness(x, mean)) for mean in means]
        rows.append([value / sum(e) for value in e])
    return torch.tensor(rows, dtype=torch.float64)


def test_squared_euclidean():
    episode, method = one(), ProtoNet(Flatten((3,)))
    said = method.predict(method.adapt(episode.support), episode.query.x)
    torch.testing.assert_close(said.mean, probabilities(episode, lambda x, m: -float((x - m).square().sum())))
    torch.testing.assert_close(method.meta_loss(episode), said.nll(episode.query.y).mean())


def test_temperature_divides():
    episode, method = one(), ProtoNet(Flatten((3,)), temperature=8.0)
    said = method.predict(method.adapt(episode.support), episode.query.x)
    torch.testing.assert_close(said.mean, probabilities(episode, lambda x, m: -float((x - m).square().sum()) / 8))


def test_cosine():
    episode, method = one(), ProtoNet(Flatten((3,)), distance="cosine", temperature=0.1)
    said = method.predict(method.adapt(episode.support), episode.query.x)
    expected = probabilities(episode, lambda x, m: float(x @ m / (x.norm() * m.norm())) / 0.1)
    torch.testing.assert_close(said.mean, expected)


def test_a_learned_temperature_starts_where_a_fixed_one_stays():
    episode = one()
    fixed = ProtoNet(Flatten((3,)), distance="cosine", temperature=0.1)
    learned = ProtoNet(Flatten((3,)), distance="cosine", temperature=0.1, learn_temperature=True).double()
    assert list(fixed.state_dict()) == []
    assert list(learned.state_dict()) == ["log_temperature"]
    torch.testing.assert_close(learned.meta_loss(episode), fixed.meta_loss(episode))
    with torch.no_grad():
        learned.log_temperature.fill_(math.log(0.5))
    warmer = ProtoNet(Flatten((3,)), distance="cosine", temperature=0.5)
    torch.testing.assert_close(learned.meta_loss(episode), warmer.meta_loss(episode))
    learned.meta_loss(episode).backward()
    assert learned.log_temperature.grad.abs() > 0


def test_the_net_embeds_both_halves():
    torch.manual_seed(0)
    net = Conv4((1, 16, 16), width=4, norm="none").double()
    episode = tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, dtype=torch.float64))
    method = ProtoNet(net)
    embedded = Episode(
        episode.support._replace(x=net(episode.support.x)), episode.query._replace(x=net(episode.query.x))
    )
    flat = ProtoNet(Flatten((4,)))
    torch.testing.assert_close(method.meta_loss(episode), flat.meta_loss(embedded))


def test_a_class_without_support_is_never_predicted():
    episode, method = one(ways=4), ProtoNet(Flatten((3,)))
    support = episode.support._replace(mask=~episode.support.y[:, 2])
    learner = method.adapt(support)
    assert learner.present.tolist() == [True, True, False, True]
    said = method.predict(learner, episode.query.x)
    assert not said.mean[:, 2].any()
    known = ~episode.query.y[:, 2]
    assert torch.isfinite(said.nll(episode.query.y)[known]).all()


def test_a_missing_class_leaves_the_gradient_finite():
    method = ProtoNet(Conv4((1, 16, 16), width=4)).double()
    images = tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, dtype=torch.float64))
    absent = ~images.support.y[:, 2]
    query = images.query._replace(mask=~images.query.y[:, 2])
    # The missing class's own queries are masked; their infinite nll must not poison what is kept.
    loss = method.meta_loss(Episode(images.support._replace(mask=absent), query))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


def test_squared_distances_by_hand():
    a, b = torch.randn(4, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(squared_distances(a, b), torch.cdist(a, b).square())
    assert torch.autograd.gradgradcheck(squared_distances, (a.requires_grad_(), b.requires_grad_()))


def test_settings_are_checked():
    with pytest.raises(SettingsError, match=r"ProtoNet\.distance: .*'euclidean' or 'cosine', got 'manhattan'"):
        ProtoNet(Flatten((3,)), distance="manhattan")
    with pytest.raises(SettingsError, match=r"ProtoNet\.temperature: .*greater than 0, got 0"):
        ProtoNet(Flatten((3,)), temperature=0)
