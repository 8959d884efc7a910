"""VERSA's logits against heads whose weights are drawn one by one."""

import pytest
import torch

from helpers import random_episodes
from quickstudy.core import tree
from quickstudy.methods.bayesian.versa import VERSA
from quickstudy.nets import Flatten


@pytest.fixture
def task():
    episode = tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))
    torch.manual_seed(0)
    return episode, VERSA(Flatten((3,)), samples=4000, width=8).double()


def test_probabilities_are_the_mean_over_heads_drawn_weight_by_weight(task):
    episode, method = task
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        learner = method.adapt(episode.support, torch.randn(method.noise_size, generator=generator).double())
        said = method.predict(learner, episode.query.x)
    z = torch.cat([episode.query.x, torch.ones(len(episode.query.x), 1)], 1)
    each = torch.randn(4000, *learner.mean.shape, generator=generator).double()
    heads = learner.mean + learner.variance.sqrt() * each
    expected = torch.einsum("nw,mkw->mnk", z, heads).softmax(-1).mean(0)
    assert learner.variance.max() > 0.1  # or the test would say nothing of them
    torch.testing.assert_close(said.mean, expected, rtol=0, atol=0.03)


def test_a_class_is_read_from_its_own_examples_alone(task):
    episode, method = task
    before = method.adapt(episode.support)
    first = episode.support.y[:, 0]
    moved = episode.support._replace(x=torch.where(first[:, None], episode.support.x, 5.0))
    after = method.adapt(moved)
    assert torch.equal(before.mean[0], after.mean[0])
    assert not torch.allclose(before.mean[1], after.mean[1])


def test_without_noise_all_heads_are_the_mean(task):
    episode, method = task
    learner = method.adapt(episode.support)
    z = torch.cat([episode.query.x, torch.ones(len(episode.query.x), 1)], 1)
    said = method.predict(learner, episode.query.x)
    torch.testing.assert_close(said.mean, (z @ learner.mean.T).softmax(-1), rtol=1e-6, atol=1e-8)


def test_a_class_without_support_is_never_predicted(task):
    episode, method = task
    support = episode.support._replace(mask=~episode.support.y[:, 2])
    noise = torch.randn(method.noise_size).double()
    said = method.predict(method.adapt(support, noise), episode.query.x)
    assert (said.mean[:, 2] == 0).all()
    assert torch.isfinite(said.nll(episode.query.y)[~episode.query.y[:, 2]]).all()
