"""Gaussian processes on features against numpy's plain algebra, and deep kernel transfer against its own meaning."""

import math

import numpy as np
import pytest
import torch

from helpers import random_episodes
from quickstudy import Categorical, Episode, Examples, Gaussian
from quickstudy.core import tree
from quickstudy.methods.bayesian import gp
from quickstudy.methods.bayesian.dkt import DKT
from quickstudy.methods.bayesian.kernels import make_kernel
from quickstudy.nets import Flatten
from quickstudy.tasks.sines import Sines

FORMULAS = {
    "rbf": lambda k, a, b: (
        math.exp(k.log_scale) * np.exp(-0.5 * ((a[:, None] - b) ** 2).sum(-1) / math.exp(k.log_length) ** 2)
    ),
    "cosine": lambda k, a, b: (
        math.exp(k.log_scale) * (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    ),
    "spectral": lambda k, a, b: sum(
        math.exp(k.log_weight[i])
        * np.prod(
            [
                np.exp(-2 * np.pi**2 * tau**2 * math.exp(k.log_width[i, d]) ** 2)
                * np.cos(2 * np.pi * tau * k.frequency[i, d].item())
                for d, tau in enumerate((a[:, None] - b).transpose(2, 0, 1))
            ],
            axis=0,
        )
        for i in range(len(k.log_weight))
    ),
}


def kernel_of(kind):
    torch.manual_seed(0)
    kernel = make_kernel(kind, 3, 2).double().requires_grad_(False)
    with torch.no_grad():
        for weight in kernel.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return kernel


def points(count, seed=0):
    return torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", FORMULAS)
def test_a_kernel_is_its_formula(kind):
    kernel, a, b = kernel_of(kind), points(4), points(5, 1)
    np.testing.assert_allclose(kernel(a, b).detach(), FORMULAS[kind](kernel, a.numpy(), b.numpy()), rtol=1e-12)
    torch.testing.assert_close(kernel.variance(a), kernel(a, a).diagonal())


@pytest.mark.parametrize("kind", FORMULAS)
def test_posterior_and_marginal_likelihood_are_those_of_a_joint_normal(kind):
    """By inverses and determinants, in numpy; every third row is padding."""
    kernel, z, at, noise = kernel_of(kind), points(9), points(4, 1), 0.2
    y = points(9, 2)[:, :2]
    mask = torch.arange(9) % 3 != 2
    fitted = gp.fit(kernel(z, z).detach(), y, noise, mask)
    mean, variance = gp.posterior(fitted, kernel(at, z).detach(), kernel.variance(at).detach())

    seen, q, v = z[mask].numpy(), at.numpy(), y[mask].numpy()
    k = FORMULAS[kind](kernel, seen, seen) + noise * np.eye(6)
    cross = FORMULAS[kind](kernel, q, seen)
    np.testing.assert_allclose(mean, cross @ np.linalg.inv(k) @ v, rtol=1e-9, atol=1e-12)
    prior = np.diag(FORMULAS[kind](kernel, q, q))
    np.testing.assert_allclose(variance, prior - np.diag(cross @ np.linalg.inv(k) @ cross.T), rtol=1e-9, atol=1e-11)
    density = [-0.5 * (c @ np.linalg.inv(k) @ c + np.linalg.slogdet(k)[1] + 6 * np.log(2 * np.pi)) for c in v.T]
    np.testing.assert_allclose(gp.log_marginal(fitted), density, rtol=1e-9)


def test_covariances_of_equal_inputs_are_factorised_in_float32():
    """Forty copies of two inputs, all but without noise: singular but for the jitter."""
    z = points(2).float().repeat(40, 1)
    kernel = kernel_of("rbf").float()
    fitted = gp.fit(100 * kernel(z, z), torch.ones(80, 1), 1e-4, torch.ones(80, dtype=torch.bool))
    mean, _ = gp.posterior(fitted, 100 * kernel(z, z), 100 * kernel.variance(z))
    torch.testing.assert_close(mean, torch.ones(80, 1), rtol=1e-2, atol=1e-2)


def one(**kinds) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64, **kinds))


def test_the_loss_is_the_density_of_the_support_times_that_of_the_query_given_it():
    """log p(S, Q) = log p(S) + log p(Q | S), the latter by the chain rule over queries, through `predict` alone."""
    torch.manual_seed(0)
    method = DKT(Flatten((1,)), 1, kernel="rbf", likelihood="gaussian").double()
    support, query = tree.map_leaves(lambda leaf: leaf[0], Sines(shots=4, queries=3).source().batch([0]))
    joined = [torch.cat([a, b]) for a, b in zip(support, query, strict=True)]
    x, y, _ = (each.double() if each.is_floating_point() else each for each in joined)
    total = 0.0
    for i in range(len(x)):
        said = method.predict(method.adapt(Examples(x[:i], y[:i], torch.ones(i, dtype=torch.bool))), x[i : i + 1])
        assert isinstance(said, Gaussian)
        total += said.nll(y[i : i + 1]).item()
    halves = (
        Examples(x[part], y[part], torch.ones(len(x[part]), dtype=torch.bool)) for part in (slice(4), slice(4, 7))
    )
    assert method.meta_loss(Episode(*halves)).item() == pytest.approx(total / 7, rel=1e-9)


def test_probabilities_are_bayes_rule_over_the_labels_a_class_would_have():
    episode, method = one(), DKT(Flatten((3,)), 5).double()
    learner = method.adapt(episode.support)
    said = method.predict(learner, episode.query.x)
    assert isinstance(said, Categorical)
    z = method._features(episode.query.x, statistics=(learner.statistics, learner.last))[0]
    mean, variance = gp.posterior(learner.fit, method.covariance(z, learner.features), method.covariance.variance(z))
    k = episode.support.y.shape[1]
    mean, deviation = mean + 2 / k - 1, (variance + method._noise()).sqrt()
    labels = 2 * torch.eye(k, dtype=torch.float64) - 1
    joint = torch.distributions.Normal(mean[:, None], deviation[:, None, None]).log_prob(labels).sum(-1)
    present = learner.present
    torch.testing.assert_close(said.mean[:, present], joint[:, present].softmax(-1), rtol=1e-9, atol=1e-12)
    assert (said.mean[:, ~present] == 0).all()


def test_intervals_widen_away_from_the_support():
    method = DKT(Flatten((1,)), 1, kernel="rbf", likelihood="gaussian").double()
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    learner = method.adapt(Examples(x, x.sin(), torch.ones(5, dtype=torch.bool)))
    said = method.predict(learner, torch.tensor([[0.0], [9.0]], dtype=torch.float64))
    near, far = said.std.flatten()
    assert near < 0.4
    assert far.item() == pytest.approx(math.sqrt(1.1 + 1e-4), rel=1e-6)
    assert said.mean[1].item() == pytest.approx(0.0, abs=1e-6)
