"""Mixtures of normals of each value, against torch's own and against sums over a fine grid."""

from __future__ import annotations

import pytest
import torch
from torch import distributions

from quickstudy.core.predictions import Ordered, Prediction
from quickstudy.methods.memory.normals import Normals


def drawn(*shape: int) -> Normals:
    generator = torch.Generator().manual_seed(0)
    logits, means, spread = (torch.randn(*shape, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    return Normals(logits, 2 * means, (0.5 * spread).exp())


def oracle(said: Normals) -> distributions.MixtureSameFamily:
    parts = distributions.Normal(said.means, said.stds)
    return distributions.MixtureSameFamily(distributions.Categorical(logits=said.logits), parts)


def test_it_is_torchs_mixture():
    said = drawn(5, 2)
    y = torch.linspace(-3, 3, 10, dtype=torch.float64).view(5, 2)
    torch.testing.assert_close(said.nll(y), -oracle(said).log_prob(y).sum(-1))
    torch.testing.assert_close(said.mean, oracle(said).mean)
    torch.testing.assert_close(said.std, oracle(said).stddev)
    torch.testing.assert_close(said.cdf(y), oracle(said).cdf(y))
    torch.testing.assert_close(said.score(y), (y - oracle(said).mean).square().mean(-1))


def test_densities_add_up_to_one():
    said = drawn(1, 1)
    grid = torch.linspace(-20, 20, 40_001, dtype=torch.float64)[:, None]
    wide = Normals(*(field.expand(len(grid), -1, -1) for field in said))
    assert float(torch.trapezoid((-wide.nll(grid)).exp(), grid[:, 0])) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("p", [0.001, 0.3, 0.95])
def test_quantiles_turn_probabilities_back(p):
    said = drawn(6, 1)
    torch.testing.assert_close(said.cdf(said.quantile(p)), torch.full((6, 1), p, dtype=torch.float64))


def test_far_values_have_a_finite_likelihood():
    said = Normals(torch.tensor([[[0.0, -800.0]]]), torch.zeros(1, 1, 2), torch.tensor([[[1e-3, 1.0]]]))
    assert float(said.nll(torch.tensor([[30.0]]))) == pytest.approx(800 + 0.5 * 900 + 0.9189, rel=1e-4)


def test_it_is_a_prediction_in_order():
    assert isinstance(drawn(2), Prediction)
    assert isinstance(drawn(2), Ordered)
