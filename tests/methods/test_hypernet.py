"""Written weights by hand, their variance, and that changes start at none."""

import pytest
import torch
import torch.nn.functional as F

from helpers import random_episodes, random_points
from quickstudy.checks import check_method
from quickstudy.core import tree
from quickstudy.methods.conditional.hypernet import HyperNet
from quickstudy.nets import MLP, Flatten

WRITES = ["head", "low-rank", "film"]


def build(writes: str = "head", moved: bool = True, **settings) -> HyperNet:
    torch.manual_seed(0)
    net = MLP((3,), hidden=(5,), activation="tanh")
    method = HyperNet(net, 4, writes=writes, width=8, hidden=6, rank=2, **settings).double()
    if moved:
        with torch.no_grad():
            for weight in method.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.3)
    return method


def one():
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


def codes_by_hand(method: HyperNet, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """One code for each column of y."""
    z = method.net(x)
    of_each = method.encoder.of_each
    means = []
    for k in range(y.shape[1]):
        own = y[:, k] != 0 if method.likelihood == "categorical" else torch.ones(len(y), dtype=torch.bool)
        pairs = zip(z[own], y[own], strict=True)
        means.append(torch.stack([of_each(torch.cat([a, b[k : k + 1]])) for a, b in pairs]).mean(0))
    return method.norm(method.encoder.of_all(torch.stack(means)))


def test_rows_are_written_class_by_class():
    method, episode = build(), one()
    codes = codes_by_hand(method, episode.support.x, episode.support.y.double())
    z = method.net(episode.query.x)
    expected = torch.stack([z @ method.weights(code) + method.biases(code) for code in codes], 1)
    torch.testing.assert_close(method.predict(method.adapt(episode.support), episode.query.x).logits, expected)


def test_a_hidden_layer_changes_by_a_product():
    method, episode = build("low-rank"), one()
    codes = codes_by_hand(method, episode.support.x, episode.support.y.double())
    task = codes.mean(0)
    change = method.left(task).view(2, 6).T @ method.right(task).view(5, 2).T
    assert torch.linalg.matrix_rank(change) == 2
    hidden = F.relu(F.linear(method.net(episode.query.x), method.hidden.weight + change, method.hidden.bias))
    expected = torch.stack([hidden @ method.weights(code) + method.biases(code) for code in codes], 1)
    torch.testing.assert_close(method.predict(method.adapt(episode.support), episode.query.x).logits, expected)


def test_channels_are_scaled_and_shifted():
    method, episode = build("film"), one()
    codes = codes_by_hand(method, episode.support.x, episode.support.y.double())
    scale, shift = method.films[0](codes.mean(0)).chunk(2)
    inner = method.net.layers[1](episode.query.x)
    z = torch.tanh((1 + scale) * inner + shift)
    expected = torch.stack([z @ method.weights(code) + method.biases(code) for code in codes], 1)
    torch.testing.assert_close(method.predict(method.adapt(episode.support), episode.query.x).logits, expected)


@pytest.mark.parametrize("values", [1, 3])
def test_real_values_have_one_code(values):
    torch.manual_seed(0)
    method = HyperNet(Flatten((2,)), values, width=8, likelihood="gaussian").double()
    support, query = random_points(6, 1, values), random_points(4, 2, values)
    code = method.norm(method.encoder(support.x, support.y[None], support.mask))[0]
    expected = query.x @ method.weights(code).view(values, 2).T + method.biases(code)
    torch.testing.assert_close(method.predict(method.adapt(support), query.x).mean, expected)


@pytest.mark.parametrize("fan_in", [5, 200])
def test_written_weights_start_with_the_variance_of_their_fan_in(fan_in):
    torch.manual_seed(0)
    method = HyperNet(Flatten((fan_in,)), 100, width=64, likelihood="gaussian").double()
    head = method.adapt(random_points(6, 1, 100, item=(fan_in,))).head.detach()
    assert float(head[:, :-1].square().mean()) == pytest.approx(1 / fan_in, rel=0.15)
    assert not head[:, -1].any()


@pytest.mark.parametrize("writes", ["low-rank", "film"])
def test_changes_start_at_none(writes):
    method, episode = build(writes, moved=False), one()
    learner = method.adapt(episode.support)
    if writes == "low-rank":
        left, right = learner.change
        assert not (right @ left).any()
        assert right.any()
    else:
        assert all(not part.any() for pair in learner.modulation.values() for part in pair)


@pytest.mark.parametrize("writes", WRITES)
def test_a_class_without_support_is_never_predicted(writes):
    method, episode = build(writes), one()
    absent = episode.support._replace(mask=~episode.support.y[:, 2])
    said = method.predict(method.adapt(absent), episode.query.x)
    assert not said.mean[:, 2].any()
    assert torch.isfinite(said.mean).all()


@pytest.mark.parametrize("writes", WRITES[1:])
def test_contract(writes):
    names = ["loop equals map", "no query leak", "padding", "support order", "relabelling", "any ways", "gradients"]
    found = check_method("hypernet", {"writes": writes, "width": 8, "hidden": 6}, only=names)
    assert [(each.name, each.reason) for each in found if not each.passed] == []
