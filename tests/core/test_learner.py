"""The contract's own class: the usual loss, calling it, tags and steps."""

import dataclasses

import pytest
import torch
from torch import nn

from helpers import random_episodes
from quickstudy import Categorical, Episode, MetaLearner, QueryScored, Tags
from quickstudy.core import tree
from quickstudy.core.learner import Stepwise


class Mean(QueryScored):
    """Logits from the mean of the support and the query, and from noise."""

    noise_size = 4

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((), scale))

    def adapt(self, support, *noise):
        return self.weight * support.x.flatten(1).mean(0)[:4] + sum(noise)

    def predict(self, learner, x):
        return Categorical(x.flatten(1)[:, :4] * learner)


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(5,)))


def test_the_usual_loss_is_the_query_s_mean_nll():
    method, episode, noise = Mean(scale=0.5), one(), torch.randn(4)
    mask = episode.query.mask.clone()
    mask[3:5] = False
    masked = episode._replace(query=episode.query._replace(mask=mask))
    nll = method.predict(method.adapt(episode.support, noise), episode.query.x).nll(episode.query.y)
    torch.testing.assert_close(method.meta_loss(masked, noise), nll[mask].mean())


def test_calling_it_is_its_loss():
    method, episode, noise = Mean(), one(), torch.randn(4)
    assert torch.equal(method(episode, noise), method.meta_loss(episode, noise))
    params = {"weight": torch.tensor(2.0)}
    called = torch.func.functional_call(method, params, (episode, noise))
    assert torch.equal(called, Mean(scale=2.0).meta_loss(episode, noise))


def test_a_method_says_all_three():
    class Half(MetaLearner):
        def adapt(self, support, *noise):
            return ()

    with pytest.raises(TypeError, match="abstract"):
        Half()


def test_steps_are_a_matter_of_having_them():
    assert not isinstance(Mean(), Stepwise)


def test_tags_promise_the_usual_and_are_frozen():
    tags = Tags()
    assert (tags.maps, tags.any_ways, tags.relabels, tags.support_order) == (True, True, True, True)
    assert (tags.trains_on, tags.regression, tags.exceptions) == ("episodes", False, {})
    with pytest.raises(dataclasses.FrozenInstanceError, match="maps"):
        tags.maps = False
