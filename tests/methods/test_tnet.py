"""T-nets against MAML, and against the metric that they are."""

import torch

from helpers import random_episodes
from quickstudy import MAML, SGD, Episode
from quickstudy.core import tree
from quickstudy.methods.gradient.tnet import TNet, transformed
from quickstudy.nets import MLP, Conv4, Flatten


def one(item=(3,)) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=item, dtype=torch.float64))


def build(**settings) -> TNet:
    torch.manual_seed(0)
    return TNet(MLP((3,), hidden=(6,), activation="tanh"), 4, rate=0.3, **settings).double()


def test_with_identities_it_is_maml():
    method, episode = build(steps=3), one()
    maml = MAML(method.net, 4, steps=3, rule=SGD(rate=0.3)).double()
    maml.head.load_state_dict(method.head.state_dict())
    weights = maml.adapt(episode.support).weights
    for name, weight in method.adapt(episode.support).weights.items():
        torch.testing.assert_close(weight, weights[name])
    torch.testing.assert_close(method.meta_loss(episode), maml.meta_loss(episode))


def test_a_map_is_a_metric():
    """For V = TW, a step on W is V - α TTᵀ ∇V."""
    torch.manual_seed(0)
    method, episode = TNet(Flatten((3,)), 4, rate=0.3).double(), one()
    with torch.no_grad():
        method.transforms["transform/head"].add_(0.5 * torch.randn(4, 4, dtype=torch.float64))
    matrix = method.transforms["transform/head"]
    whole = matrix @ torch.cat([method.head.weight, method.head.bias[:, None]], 1)
    x = torch.cat([episode.support.x, torch.ones(len(episode.support.x), 1)], 1)
    error = (x @ whole.T).softmax(-1) - episode.support.y.double()
    moved = whole - 0.3 * matrix @ matrix.T @ (error.T @ x) / len(x)
    said = method.predict(method.adapt(episode.support), episode.query.x)
    torch.testing.assert_close(said.logits, episode.query.x @ moved[:, :3].T + moved[:, 3])


def test_maps_follow_each_layer_of_a_net():
    torch.manual_seed(0)
    net = Conv4((1, 16, 16), width=4, norm="none")
    method = TNet(net, 3).double()
    assert {name: tuple(matrix.shape) for name, matrix in method.transforms.items()} == {
        "transform/head": (3, 3),
        **{f"transform/net/blocks/{place}": (4, 4) for place in (0, 4, 8, 12)},
    }
    weight, bias, matrix = torch.randn(4, 2, 3, 3), torch.randn(4), torch.randn(4, 4)
    whole = transformed({"net.c.weight": weight, "net.c.bias": bias, "transform.net.c": matrix})
    x = torch.randn(2, 2, 5, 5)
    expected = torch.einsum("oi,nihw->nohw", matrix, torch.conv2d(x, weight, bias))
    torch.testing.assert_close(torch.conv2d(x, whole["net.c.weight"], whole["net.c.bias"]), expected)


def test_masked_rows_stay():
    method, episode = build(masked=True, steps=2), one()
    noise = torch.randn(method.noise_size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert method.noise_size == 6 + 4
    weights = method.adapt(episode.support, noise).weights
    stay = noise < 0  # odds are even: a normal number below 0 is a logistic one below 0
    assert 0 < stay.sum() < 10
    for name, rows in (("head", stay[:4]), ("net.layers.1", stay[4:])):
        for part in ("weight", "bias"):
            before, after = method.get_parameter(f"{name}.{part}"), weights[f"{name}.{part}"]
            same = (before == after).view(len(rows), -1).all(1)
            assert torch.equal(same, rows)


def test_with_even_odds_and_no_noise_every_row_steps():
    masked, plain, episode = build(masked=True), build(), one()
    weights = plain.adapt_for(episode.support, 5).weights
    for name, weight in masked.adapt_for(episode.support, 5).weights.items():
        torch.testing.assert_close(weight, weights[name])
        assert not torch.equal(weight, masked.get_parameter(name))


def test_odds_are_learned_and_decide_without_noise():
    method, episode = build(masked=True), one()
    noise = torch.randn(method.noise_size, dtype=torch.float64)
    method.meta_loss(episode, noise).backward()
    assert all(odds.grad.abs().max() > 0 for odds in method.odds.values())
    with torch.no_grad():
        method.odds["head"].fill_(3.0)
        method.odds["net/layers/1"].fill_(-3.0)
    weights = method.adapt_for(episode.support, 1).weights
    assert torch.equal(weights["net.layers.1.weight"], method.net.layers[1].weight)
    assert not torch.equal(weights["head.weight"], method.head.weight)
