"""Predictions against torch's own distributions and closed forms."""

import math

import pytest
import torch
from torch import distributions as D

from quickstudy import Categorical, Gaussian, Mixture, over_tasks
from quickstudy.core.predictions import Ordered, likelihood
from quickstudy.errors import MethodError


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)


def normal(*shape, generator):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def one_hot(labels, ways):
    return torch.eye(ways, dtype=torch.bool)[torch.tensor(labels)]


def test_categorical_is_torch_s(draws):
    logits, y = normal(6, 4, generator=draws), one_hot([0, 1, 2, 3, 3, 0], 4)
    said, truth = Categorical(logits), D.Categorical(logits=logits)
    torch.testing.assert_close(said.nll(y), -truth.log_prob(y.int().argmax(-1)))
    torch.testing.assert_close(said.mean, truth.probs)
    assert said.score(y).tolist() == (logits.argmax(-1) == y.int().argmax(-1)).double().tolist()
    assert said.metric == "accuracy"


def test_soft_labels_give_cross_entropy(draws):
    logits, y = normal(5, 3, generator=draws), normal(5, 3, generator=draws).softmax(-1)
    torch.testing.assert_close(
        Categorical(logits).nll(y), torch.nn.functional.cross_entropy(logits, y, reduction="none")
    )


def test_a_ruled_out_class_costs_nothing_where_it_is_wrong():
    logits = torch.tensor([[0.0, -torch.inf], [0.0, -torch.inf]], requires_grad=True)
    nll = Categorical(logits).nll(one_hot([0, 0], 2))
    assert nll.tolist() == [0.0, 0.0]
    nll.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_a_ruled_out_class_costs_infinity_where_it_is_right():
    assert Categorical(torch.tensor([[0.0, -torch.inf]])).nll(one_hot([1], 2)).tolist() == [torch.inf]


def test_gaussian_is_torch_s(draws):
    mean, y = normal(6, 2, 3, generator=draws), normal(6, 2, 3, generator=draws)
    std = normal(6, 2, 3, generator=draws).exp()
    said = Gaussian(mean, std)
    torch.testing.assert_close(said.nll(y), -D.Normal(mean, std).log_prob(y).sum((1, 2)))
    torch.testing.assert_close(said.score(y), ((mean - y) ** 2).mean((1, 2)))
    assert said.metric == "mse"
    assert said.mean is mean


def test_root_half_makes_the_nll_squared_error(draws):
    output, y = normal(7, 1, generator=draws), normal(7, 1, generator=draws)
    said = likelihood("gaussian", output)
    torch.testing.assert_close(said.nll(y), (y - output).square().squeeze(1) + 0.5 * math.log(math.pi))


def test_likelihood_of_logits(draws):
    logits = normal(3, 4, generator=draws)
    assert torch.equal(likelihood("categorical", logits).logits, logits)


def test_a_mixture_of_gaussians_is_torch_s(draws):
    means, stds = normal(3, 5, 2, generator=draws), normal(3, 5, 2, generator=draws).exp()
    log_weight, y = normal(3, generator=draws), normal(5, 2, generator=draws)
    said = Mixture(Gaussian(means, stds), log_weight)
    components = D.Independent(D.Normal(means.transpose(0, 1), stds.transpose(0, 1)), 1)
    truth = D.MixtureSameFamily(D.Categorical(logits=log_weight.expand(5, 3)), components)
    torch.testing.assert_close(said.nll(y), -truth.log_prob(y))
    torch.testing.assert_close(said.mean, truth.mean)
    torch.testing.assert_close(said.score(y), (truth.mean - y).square().mean(-1))
    assert said.metric == "mse"


def test_a_mixture_of_categoricals_averages_probabilities(draws):
    logits, log_weight, y = normal(3, 5, 4, generator=draws), normal(3, generator=draws), one_hot([0, 1, 2, 3, 0], 4)
    said = Mixture(Categorical(logits), log_weight)
    p = (log_weight.softmax(0)[:, None, None] * logits.softmax(-1)).sum(0)
    torch.testing.assert_close(said.mean, p)
    torch.testing.assert_close(said.nll(y), -p[y].log())
    assert said.score(y).tolist() == (p.argmax(-1) == y.int().argmax(-1)).double().tolist()
    assert said.metric == "accuracy"


def test_a_mixture_of_one_is_its_part(draws):
    logits, y = normal(1, 5, 4, generator=draws), one_hot([0, 1, 2, 3, 0], 4)
    said = Mixture(Categorical(logits), torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(said.nll(y), Categorical(logits[0]).nll(y))


def test_they_map_over_tasks(draws):
    logits, y = normal(2, 3, 5, 4, generator=draws), one_hot([0, 1, 2, 3, 0], 4).expand(2, 5, 4)
    log_weight = normal(2, 3, generator=draws)

    def nll(logits, log_weight, y):
        return Mixture(Categorical(logits), log_weight).nll(y)

    mapped = over_tasks(nll, logits, log_weight, y)
    torch.testing.assert_close(mapped, over_tasks(nll, logits, log_weight, y, how="loop"))


def test_far_from_the_mean_the_nll_stays_finite():
    y = torch.tensor([[1e6]])
    part = Gaussian(torch.zeros(2, 1, 1), torch.ones(2, 1, 1))
    assert torch.isfinite(Mixture(part, torch.zeros(2)).nll(y)).all()


LEVELS = [0.025, 0.25, 0.5, 0.9, 0.975]


@pytest.mark.parametrize("p", LEVELS)
def test_quantiles_are_torchs_and_undo_the_cdf(draws, p):
    mean, std = normal(4, 2, generator=draws), normal(4, 2, generator=draws).exp()
    said = Gaussian(mean, std)
    torch.testing.assert_close(said.quantile(p), D.Normal(mean, std).icdf(torch.tensor(p, dtype=torch.float64)))
    torch.testing.assert_close(said.cdf(said.quantile(p)), torch.full_like(mean, p))
    means, stds = normal(3, 4, 2, generator=draws), normal(3, 4, 2, generator=draws).exp()
    mixed = Mixture(Gaussian(means, stds), normal(3, generator=draws))
    assert isinstance(mixed, Ordered)
    torch.testing.assert_close(mixed.cdf(mixed.quantile(p)), torch.full_like(mean, p), rtol=0, atol=1e-9)
    weight = mixed.log_weight.softmax(0)[:, None, None]
    y = normal(4, 2, generator=draws)
    torch.testing.assert_close(mixed.cdf(y), (weight * D.Normal(means, stds).cdf(y)).sum(0))


def test_a_mixture_far_apart_has_its_quantiles_in_its_parts():
    said = Mixture(Gaussian(torch.tensor([[[-10.0]], [[10.0]]]), torch.ones(2, 1, 1)), torch.zeros(2))
    assert said.quantile(0.25).item() == pytest.approx(-10, abs=1e-3)
    assert said.quantile(0.75).item() == pytest.approx(10, abs=1e-3)


def test_classes_have_no_quantiles():
    said = Mixture(Categorical(torch.zeros(2, 3, 4)), torch.zeros(2))
    assert not isinstance(Categorical(torch.zeros(3, 4)), Ordered)
    with pytest.raises(MethodError, match="a mixture of Categorical has no order"):
        said.quantile(0.5)
