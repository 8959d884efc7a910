"""CNAPs and Simple CNAPs, one class at a time, against numpy's covariances and torch's normal distribution."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from helpers import random_episodes
from quickstudy import Episode
from quickstudy.checks import check_method
from quickstudy.core import tree
from quickstudy.methods.conditional.cnaps import CNAPs, covariances
from quickstudy.nets import MLP, Conv4, Flatten

ITEM = (1, 8, 8)


def one(item=(3,), **sizes) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=item, dtype=torch.float64, **sizes))


def build(net=None, **settings) -> CNAPs:
    torch.manual_seed(0)
    method = CNAPs(net or MLP((3,), hidden=(6, 4), activation="tanh"), **settings).double()
    with torch.no_grad():
        method.embedding.factors.add_(torch.randn_like(method.embedding.factors))
    return method


def modulated_by_hand(method: CNAPs, support: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The two layers of the perceptron, each scaled and shifted before its tanh."""
    code = method.encoder(support).mean(0)
    first, second = (layer for layer in method.net.layers if hasattr(layer, "weight"))
    for (scale, shift), layer in zip(method.embedding(code).values(), (first, second), strict=True):
        x = torch.tanh((1 + scale) * layer(x) + shift)
    return x


def test_weights_are_written_from_class_means():
    method, episode = build(), one()
    support, query = (modulated_by_hand(method, episode.support.x, part.x) for part in episode)
    said = method.predict(method.adapt(episode.support), episode.query.x).logits
    for k in range(4):
        mean = support[episode.support.y[:, k]].mean(0)
        weight, bias = mean + method.writer.weight(mean), method.writer.bias(mean)
        torch.testing.assert_close(said[:, k], query @ weight + bias)


@pytest.mark.parametrize("shots", [1, 4])
@pytest.mark.parametrize("ridge", [1.0, 0.3])
def test_distances_are_under_the_regularised_covariance(shots, ridge):
    method, episode = build(head="mahalanobis", ridge=ridge), one(shots=shots)
    support, query = (modulated_by_hand(method, episode.support.x, part.x) for part in episode)
    said = method.predict(method.adapt(episode.support), episode.query.x).logits
    task = np.cov(support.detach().numpy().T)
    for k in range(4):
        own = support[episode.support.y[:, k]].detach()
        of_class = np.cov(own.numpy().T) if shots > 1 else np.zeros((4, 4))
        share = shots / (shots + 1)
        cov = torch.from_numpy(share * of_class + (1 - share) * task + ridge * np.eye(4))
        normal = MultivariateNormal(own.mean(0), cov)
        expected = normal.log_prob(query) - normal.log_prob(own.mean(0))  # minus half the squared distance
        torch.testing.assert_close(said[:, k], expected)


def test_covariances_of_few():
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    member = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 1, 1]], dtype=torch.float64)
    found = covariances(z, member)
    assert not found[:2].any()
    torch.testing.assert_close(found[2], torch.from_numpy(np.cov(z[1:].numpy().T)))


def test_the_set_encoder_is_a_net_of_its_own():
    method, episode = build(), one()
    method.meta_loss(episode).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in method.encoder.parameters())
    assert not set(map(id, method.encoder.parameters())) & set(map(id, method.net.parameters()))


def test_a_frozen_net_keeps_its_weights():
    method, episode = build(frozen=True), one()
    method.meta_loss(episode).backward()
    assert all(weight.grad is None for weight in method.net.parameters())
    assert method.embedding.factors.grad.abs().sum() > 0


@pytest.mark.parametrize("head", ["linear", "mahalanobis"])
def test_a_class_without_support_is_never_predicted(head):
    method, episode = build(head=head), one()
    absent = episode.support._replace(mask=~episode.support.y[:, 2])
    said = method.predict(method.adapt(absent), episode.query.x)
    assert not said.mean[:, 2].any()
    loss = method.meta_loss(Episode(absent, one().query._replace(mask=~episode.query.y[:, 2])))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in method.parameters())


def test_a_net_without_weights_is_not_modulated():
    method, episode = build(Flatten((3,)), head="mahalanobis"), one()
    assert method.adapt(episode.support).modulation == {}


@pytest.mark.parametrize("head", ["linear", "mahalanobis"])
def test_contract_on_images(head):
    found = check_method(
        "cnaps",
        {"head": head},
        net={"name": "conv4", "width": 4, "downsample": "stride"},
        item=ITEM,
        only=["loop equals map", "no query leak", "padding", "support order", "relabelling", "any ways"],
    )
    assert [(each.name, each.reason) for each in found if not each.passed] == []


def test_its_modulation_reaches_every_block():
    method = CNAPs(Conv4(ITEM, width=4, downsample="stride"))
    assert len(method.embedding.places) == 4
