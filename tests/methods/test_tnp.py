"""A transformer neural process against one pass of torch's own transformer under a mask."""

import pytest
import torch
from torch import nn

from helpers import random_episodes, random_points, torchs_transformer
from quickstudy import Episode
from quickstudy.core import tree
from quickstudy.methods.conditional.tnp import TNP
from quickstudy.nets import MLP, Flatten

EPISODE = Episode(random_points(5, 1), random_points(4, 2))


def build(**settings) -> TNP:
    torch.manual_seed(0)
    settings = {"width": 8, "hidden": 16, "heads": 2, "layers": 2, **settings}
    return TNP(Flatten((2,)), 1, likelihood="gaussian", **settings).double()


def test_it_is_one_pass_in_which_all_see_the_support():
    method = build()
    given, asked = EPISODE
    zeros, known = torch.zeros(4, 1), torch.ones(5, 1)
    tokens = torch.cat([torch.cat([given.x, given.y, known], 1), torch.cat([asked.x, zeros, zeros], 1)])
    unseen = torch.arange(9).expand(9, 9) >= 5
    out = torchs_transformer(method.transformer.blocks)(method.embed(tokens)[None], mask=unseen)[0, 5:]
    numbers = method.head(out)
    said = method.predict(method.adapt(given), asked.x)
    torch.testing.assert_close(said.mean, numbers[:, :1])
    torch.testing.assert_close(said.std, 1e-4 + (1 - 1e-4) * nn.functional.softplus(numbers[:, 1:]))
    torch.testing.assert_close(method.meta_loss(EPISODE), said.nll(asked.y).mean())


def test_the_support_is_passed_through_once():
    """What a query costs after adapting does not grow with how the support was read: its memories are the learner."""
    method = build()
    learner = method.adapt(EPISODE.support)
    assert [tuple(memory.keys.shape) for memory in learner.memories] == [(1, 2, 5, 4)] * 2
    calls = []
    method.embed.register_forward_hook(lambda module, args, out: calls.append(out.shape[-2]))
    method.predict(learner, EPISODE.query.x)
    assert calls == [4]


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_without_support_there_is_a_prior(floor):
    method = build(floor=floor)
    none = method.predict(method.adapt(random_points(0, 1)), EPISODE.query.x)
    hidden = random_points(3, 1)._replace(mask=torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(method.predict(method.adapt(hidden), EPISODE.query.x).mean, none.mean)
    assert (none.std > floor).all()


def test_each_class_is_a_function_of_its_own():
    torch.manual_seed(0)
    method = TNP(MLP((3,), hidden=(5,)), 4, width=8, hidden=8, heads=2, layers=2).double()
    episode = tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))
    said = method.predict(method.adapt(episode.support), episode.query.x).logits
    pair = episode.support._replace(y=episode.support.y[:, [2, 0]])
    torch.testing.assert_close(method.predict(method.adapt(pair), episode.query.x).logits, said[:, [2, 0]])


def test_a_sure_net_still_says_a_deviation():
    method = build()
    with torch.no_grad():
        method.head[-1].bias[1] = -1000.0
    said = method.predict(method.adapt(EPISODE.support), EPISODE.query.x)
    assert (said.std == 1e-4).all()
    assert torch.isfinite(said.nll(EPISODE.query.y)).all()
