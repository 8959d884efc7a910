"""Neural processes: what is drawn, the bound, its importance-weighted form, and the mixture."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from helpers import random_points
from quickstudy import Episode
from quickstudy.methods.conditional.np import NP
from quickstudy.nets import Flatten


def build(**settings) -> NP:
    torch.manual_seed(0)
    settings = {"latent": 3, "samples": 5, "width": 8, "heads": 2, **settings}
    return NP(Flatten((2,)), 1, likelihood="gaussian", **settings).double()


def noise_for(method: NP) -> torch.Tensor:
    return torch.randn(method.noise_size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def latent(method: NP, *parts) -> Normal:
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    code = method.encoder(x, y[None], torch.ones(len(x), dtype=torch.bool))
    return Normal(code.mean[0], code.std[0])


def log_p(method: NP, z: torch.Tensor, episode: Episode) -> torch.Tensor:
    """Of each target of support and query, under one code."""
    x, y = torch.cat([episode.support.x, episode.query.x]), torch.cat([episode.support.y, episode.query.y])
    support = episode.support
    read = method.path.read(method.path.encode(support.x, support.y[None], support.mask), x)[0]
    numbers = method.decoder.layers(torch.cat([x, z.expand(len(x), -1), read], 1))
    std = 0.1 + 0.9 * torch.nn.functional.softplus(numbers[:, 1:])
    return Normal(numbers[:, :1], std).log_prob(y)[:, 0]


EPISODE = Episode(random_points(5, 1), random_points(4, 2))
PATHS = ["none", "mean", "attention"]


@pytest.mark.parametrize("path", PATHS)
def test_predictions_are_a_mixture_over_codes(path):
    method = build(path=path)
    noise = noise_for(method)
    prior = latent(method, EPISODE.support)
    codes = [prior.mean + prior.stddev * e for e in noise.view(5, 3)]
    each = torch.stack([log_p(method, z, EPISODE) for z in codes])
    said = method.predict(method.adapt(EPISODE.support, noise), EPISODE.query.x)
    torch.testing.assert_close(-said.nll(EPISODE.query.y), each.logsumexp(0)[5:] - math.log(5))
    assert said.parts.mean.shape == (5, 4, 1)


@pytest.mark.parametrize("path", PATHS)
def test_the_loss_is_the_bound(path):
    method = build(path=path, training_samples=2)
    noise = noise_for(method)
    prior, posterior = latent(method, EPISODE.support), latent(method, *EPISODE)
    codes = [posterior.mean + posterior.stddev * e for e in noise.view(5, 3)[:2]]
    fit = torch.stack([log_p(method, z, EPISODE).sum() for z in codes]).mean()
    expected = (kl_divergence(posterior, prior).sum() - fit) / 9
    torch.testing.assert_close(method.meta_loss(EPISODE, noise), expected)


def test_the_importance_weighted_loss():
    method = build(loss="importance", training_samples=4)
    noise = noise_for(method)
    prior, posterior = latent(method, EPISODE.support), latent(method, *EPISODE)
    codes = [posterior.mean + posterior.stddev * e for e in noise.view(5, 3)[:4]]
    weights = [log_p(method, z, EPISODE).sum() + prior.log_prob(z).sum() - posterior.log_prob(z).sum() for z in codes]
    expected = -(torch.stack(weights).logsumexp(0) - math.log(4)) / 9
    torch.testing.assert_close(method.meta_loss(EPISODE, noise), expected)


def test_importance_weights_bound_tighter():
    """With one code both are estimates of one bound; with more the weighted one can only rise (Burda et al. 2016)."""
    bound, weighted = build(training_samples=64, samples=64), build(training_samples=64, samples=64, loss="importance")
    weighted.load_state_dict(bound.state_dict())
    noise = noise_for(bound)
    assert weighted.meta_loss(EPISODE, noise) < bound.meta_loss(EPISODE, noise) + 1e-2


def test_without_noise_the_code_is_its_mean():
    method = build()
    learner = method.adapt(EPISODE.support)
    torch.testing.assert_close(learner.latent[:, 0], latent(method, EPISODE.support).mean.expand(5, -1))


@pytest.mark.parametrize("path", PATHS)
def test_without_support_there_is_a_prior(path):
    method = build(path=path)
    learner = method.adapt(random_points(0, 1), noise_for(method))
    assert torch.isfinite(method.predict(learner, EPISODE.query.x).nll(EPISODE.query.y)).all()
    loss = method.meta_loss(EPISODE._replace(support=random_points(0, 1)), noise_for(method))
    loss.backward()
    assert torch.isfinite(loss)
