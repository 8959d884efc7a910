"""MAML against closed forms, and its variants against what they are variants of."""

import pytest
import torch
from torch import nn

from helpers import random_episodes
from quickstudy import MAML, SGD, Adam, Episode, Examples, LearnedRates, over_tasks
from quickstudy.core import tree
from quickstudy.core.learner import Stepwise
from quickstudy.errors import MethodError, SettingsError
from quickstudy.nets import MLP, Conv4, Flatten


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def regression(n: int = 6, d: int = 3, seed: int = 0) -> Episode:
    def part(seed: int) -> Examples:
        return Examples(normal(n, d, seed=seed), normal(n, 1, seed=seed + 1), torch.ones(n, dtype=torch.bool))

    return Episode(part(seed), part(seed + 10))


def with_ones(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)


def linear(**settings) -> tuple[MAML, torch.Tensor]:
    """MAML on a linear model, and its start as one vector (weights, then the bias)."""
    method = MAML(Flatten((3,)), 1, likelihood="gaussian", **settings).double()
    with torch.no_grad():
        method.head.weight.copy_(normal(1, 3, seed=50))
        method.head.bias.copy_(normal(1, seed=51))
    return method, torch.cat([method.head.weight.flatten(), method.head.bias]).detach()


def flat_gradient(method: MAML) -> torch.Tensor:
    return torch.cat([method.head.weight.grad.flatten(), method.head.bias.grad])


def test_one_step_on_a_linear_model():
    """θ' = θ - (2α/n) Xᵀ(Xθ - y); the loss is squared error, its meta-gradient (I - (2α/n) XᵀX) ∇query(θ')."""
    method, theta = linear(steps=1, rule=SGD(rate=0.1))
    episode = regression()
    x, y = with_ones(episode.support.x), episode.support.y[:, 0]
    end = theta - 0.1 * 2 / 6 * x.T @ (x @ theta - y)

    learner = method.adapt(episode.support)
    adapted = torch.cat([learner.weights["head.weight"].flatten(), learner.weights["head.bias"]])
    torch.testing.assert_close(adapted, end)

    query, target = with_ones(episode.query.x), episode.query.y[:, 0]
    loss = method.meta_loss(episode)
    torch.testing.assert_close(
        loss, (query @ end - target).square().mean() + 0.5 * torch.log(torch.tensor(torch.pi)).double()
    )
    loss.backward()
    after = 2 / 6 * query.T @ (query @ end - target)
    torch.testing.assert_close(flat_gradient(method), after - 0.1 * 2 / 6 * x.T @ (x @ after))


def test_first_order_drops_the_curvature():
    method, theta = linear(steps=1, rule=SGD(rate=0.1), gradient="first-order")
    episode = regression()
    x, y = with_ones(episode.support.x), episode.support.y[:, 0]
    end = theta - 0.1 * 2 / 6 * x.T @ (x @ theta - y)
    query, target = with_ones(episode.query.x), episode.query.y[:, 0]
    method.meta_loss(episode).backward()
    torch.testing.assert_close(flat_gradient(method), 2 / 6 * query.T @ (query @ end - target))


def test_the_rate_of_a_step_is_learned():
    """One rate for the weights and one for the bias, d loss / d rate = -(slope · ∇query(θ'))."""
    method, theta = linear(steps=1, rule=LearnedRates(rate=0.125, per="tensor"))
    episode = regression()
    assert {name: rate.item() for name, rate in method.rates.items()} == {"head/weight": 0.125, "head/bias": 0.125}
    assert "rates.head/weight" in method.state_dict()
    method.meta_loss(episode).backward()
    x, y = with_ones(episode.support.x), episode.support.y[:, 0]
    slope = 2 / 6 * x.T @ (x @ theta - y)
    end = theta - 0.125 * slope
    query, target = with_ones(episode.query.x), episode.query.y[:, 0]
    after = 2 / 6 * query.T @ (query @ end - target)
    torch.testing.assert_close(method.rates["head/weight"].grad, -(slope[:3] @ after[:3]))
    torch.testing.assert_close(method.rates["head/bias"].grad, -(slope[3] * after[3]))


def conv(**settings) -> MAML:
    torch.manual_seed(0)
    return MAML(Conv4((1, 16, 16), width=4), 4, **settings).double()


def one(seed: int = 0) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, dtype=torch.float64, seed=seed))


def test_anil_is_maml_whose_body_has_rates_of_zero():
    """ANIL computes the features once; a full inner loop whose body never moves must agree."""
    anil, full = conv(adapts="head", rule=SGD(rate=0.3), steps=3), conv(rule=LearnedRates(rate=0.3), steps=3)
    with torch.no_grad():
        for name, rate in full.rates.items():
            if name.startswith("net/"):
                rate.zero_()
    episode = one()
    torch.testing.assert_close(anil.meta_loss(episode), full.meta_loss(episode))
    learner = anil.adapt(episode.support)
    assert set(learner.weights) == {"head.weight", "head.bias"}
    slopes = torch.autograd.grad(anil.meta_loss(episode), [*anil.net.parameters(), *anil.head.parameters()])
    expected = torch.autograd.grad(full.meta_loss(episode), [*full.net.parameters(), *full.head.parameters()])
    for slope, want in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope, want)


def test_exact_is_unrolled():
    episode = one()
    slopes = {}
    for gradient in ("exact", "unrolled"):
        method = conv(gradient=gradient, steps=3)
        slopes[gradient] = torch.autograd.grad(method.meta_loss(episode), list(method.parameters()))
    for exact, unrolled in zip(slopes["exact"], slopes["unrolled"], strict=True):
        torch.testing.assert_close(exact, unrolled, rtol=1e-8, atol=1e-10)


def test_steps_are_counted_from_the_start():
    method, episode = conv(steps=2), one()
    assert isinstance(method, Stepwise)
    before = method.adapt_for(episode.support, 0)
    assert all(torch.equal(value, method.get_parameter(name)) for name, value in before.weights.items())
    two, again = method.adapt(episode.support), method.adapt_for(episode.support, 2)
    assert all(torch.equal(a, b) for a, b in zip(tree.leaves(two), tree.leaves(again), strict=True))
    nlls = [
        method.predict(method.adapt_for(episode.support, steps), episode.support.x).nll(episode.support.y).mean()
        for steps in (0, 1, 5, 20)
    ]
    assert nlls == sorted(nlls, reverse=True)


def test_the_statistics_are_those_of_the_adapted_body():
    from quickstudy.core.apply import apply

    method, episode = conv(steps=2), one()
    learner = method.adapt(episode.support)
    body = {name.removeprefix("net."): value for name, value in learner.weights.items() if name.startswith("net.")}
    _, expected = apply(method.net, body, episode.support.x)
    for got, want in zip(tree.leaves(learner.statistics), tree.leaves(expected), strict=True):
        torch.testing.assert_close(got, want)


def test_a_meta_step_is_one_pure_function():
    """`functional_call` of the whole batch loss, differentiated by torch.func, is what backward gives."""
    method, episodes = conv(steps=1), random_episodes(dtype=torch.float64)
    params = {name: value.detach() for name, value in method.named_parameters()}

    def batch_loss(params, episodes):
        return over_tasks(lambda e: torch.func.functional_call(method, params, (e,)), episodes).mean()

    pure = torch.func.grad(batch_loss)(params, episodes)
    over_tasks(method, episodes).mean().backward()
    for name, value in method.named_parameters():
        torch.testing.assert_close(pure[name], value.grad)


def test_its_head_starts_near_zero():
    method = MAML(MLP((2,), hidden=(50,)), 10)
    assert method.head.weight.std() < 0.02
    assert not method.head.bias.any()


def test_any_module_with_features_can_be_the_body():
    body = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    with pytest.raises(MethodError, match=r"integer attribute `features`, got None on Sequential\. Set net\.features"):
        MAML(body, 1, likelihood="gaussian")
    body.features = 4
    method = MAML(body, 1, likelihood="gaussian", rule=Adam(rate=0.01)).double()
    assert torch.isfinite(method.meta_loss(regression()))


def test_settings_are_checked():
    with pytest.raises(SettingsError, match=r"MAML\.steps: .*got -1"):
        MAML(Flatten((3,)), 1, steps=-1)
    with pytest.raises(SettingsError, match=r"MAML\.adapts: .*'all', 'head' or 'body', got 'bodies'"):
        MAML(Flatten((3,)), 1, adapts="bodies")


def test_boil_is_maml_whose_head_has_rates_of_zero():
    boil, full = conv(adapts="body", rule=SGD(rate=0.3), steps=2), conv(rule=LearnedRates(rate=0.3), steps=2)
    with torch.no_grad():
        full.rates["head/weight"].zero_()
        full.rates["head/bias"].zero_()
    episode = one()
    assert not any(name.startswith("head.") for name in boil.adapt(episode.support).weights)
    wanted = [*boil.net.parameters(), *boil.head.parameters()]
    slopes = torch.autograd.grad(boil.meta_loss(episode), wanted)
    expected = torch.autograd.grad(full.meta_loss(episode), [*full.net.parameters(), *full.head.parameters()])
    for slope, want in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope, want)


def test_a_variant_is_a_name_for_settings():
    from quickstudy.core.settings import load

    assert load("method", "anil") == MAML.Settings(adapts="head")
    assert load("method", {"name": "meta-sgd", "steps": 3}) == MAML.Settings(rule=LearnedRates(rate=0.1), steps=3)
