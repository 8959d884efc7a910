"""MAML against closed forms, and its variants against what they are variants of."""

import pytest
import torch
from torch import nn

from helpers import random_episodes
from quickstudy import MAML, SGD, Adam, Episode, Examples, LearnedRates, over_tasks, registry
from quickstudy.core import tree
from quickstudy.core.learner import Stepwise, Tags, tags_of
from quickstudy.core.settings import load
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


def of_ways(ways: int, seed: int = 0) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, ways=ways, dtype=torch.float64, seed=seed))


def same_rows(tied: MAML, ways: int, **settings) -> MAML:
    """MAML with a head for each of so many classes, whose rows are all the tied one and whose bias never moves.

    Its loss is a mean over examples, a share of the tied head's: it takes so many times the steps.
    """
    full = MAML(tied.net, ways, rule=LearnedRates(rate=0.3 * ways), steps=3, **settings).double()
    with torch.no_grad():
        full.head.weight.copy_(tied.head.weight.expand(ways, -1))
        full.rates["head/bias"].zero_()
    return full


@pytest.mark.parametrize("adapts", ["all", "head"])
def test_a_tied_head_is_one_whose_rows_start_alike(adapts):
    """For any number of ways; the meta-gradient of its one row is the sum of theirs."""
    tied = conv(adapts=adapts, head="tied", rule=SGD(rate=0.3), steps=3)
    assert {name: tuple(weight.shape) for name, weight in tied.head.named_parameters()} == {"weight": (1, 4)}
    for ways in (2, 5):
        full, episode = same_rows(tied, ways, adapts=adapts), of_ways(ways)
        learner = tied.adapt(episode.support)
        assert learner.weights["head.weight"].shape == (ways, 4)
        torch.testing.assert_close(
            learner.weights, {n: w for n, w in full.adapt(episode.support).weights.items() if n != "head.bias"}
        )
        loss, expected = tied.meta_loss(episode), full.meta_loss(episode)
        torch.testing.assert_close(loss, expected)
        slopes = torch.autograd.grad(loss, [*tied.net.parameters(), tied.head.weight])
        wanted = torch.autograd.grad(expected, [*full.net.parameters(), full.head.weight])
        for slope, want in zip(slopes, [*wanted[:-1], wanted[-1].sum(0, keepdim=True)], strict=True):
            torch.testing.assert_close(slope, want)


def test_a_class_of_a_tied_head_steps_as_far_whatever_the_others():
    """However many classes there are, and however many examples the others or it have."""
    method = MAML(Flatten((6,)), 3, adapts="head", head="tied", rule=SGD(rate=0.5), steps=1).double()
    torch.nn.init.zeros_(method.head.weight)
    x, y = torch.eye(6, dtype=torch.float64), torch.eye(6, dtype=torch.bool)
    for ways in (2, 3, 6):
        once = Examples(x[:ways], y[:ways, :ways], torch.ones(ways, dtype=torch.bool))
        again = Examples(*(torch.cat([leaf, leaf[:1], leaf[:1]]) for leaf in once))
        padded = again._replace(mask=torch.ones(ways + 2, dtype=torch.bool).index_fill(0, torch.tensor([ways + 1]), 0))
        for support in (once, again, padded):
            head = method.adapt(support).weights["head.weight"]
            torch.testing.assert_close(head[:, :ways], 0.5 * (torch.eye(ways) - 1 / ways).double())


@pytest.mark.parametrize("rule", [*registry.RULES])
def test_classes_of_a_tied_head_change_places_by_every_rule(rule):
    """With no steps it says nothing of classes; with them it says the same of classes by whatever name."""
    method = conv(head="tied", rule=rule, steps=2)
    names = torch.tensor([2, 0, 3, 1])
    for ways in (4, 3):
        episode = of_ways(ways)
        order = names[names < ways]
        other = episode.support._replace(y=episode.support.y[:, order])
        said = method.predict(method.adapt(episode.support), episode.query.x).mean
        renamed = method.predict(method.adapt(other), episode.query.x).mean
        torch.testing.assert_close(said[:, order], renamed)
        assert (said - 1 / ways).abs().max() > 1e-6
        even = method.predict(method.adapt_for(episode.support, 0), episode.query.x).mean
        torch.testing.assert_close(even, torch.full_like(even, 1 / ways))


def test_a_tied_head_promises_other_things():
    method = conv(head="tied")
    assert method.tags == tags_of(method.settings) == tags_of(load("method", "anil-tied"))
    assert method.tags == Tags(any_ways=True, relabels=True, regression=False)
    assert conv().tags == tags_of(load("method", "anil")) == Tags(any_ways=False, relabels=False, regression=True)


@pytest.mark.parametrize(
    ("mistake", "got"),
    [({"adapts": "body"}, "adapts='body' and likelihood='categorical'"), ({"likelihood": "gaussian"}, "'gaussian'")],
)
def test_a_tied_head_must_step_and_have_classes(mistake, got):
    with pytest.raises(SettingsError, match=rf"head='tied' starts every class alike.*got .*{got}.* or choose"):
        conv(head="tied", **mistake)


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
    assert load("method", "anil") == MAML.Settings(adapts="head")
    assert load("method", "anil-tied") == MAML.Settings(adapts="head", head="tied", rule=SGD(rate=0.02))
    assert load("method", {"name": "meta-sgd", "steps": 3}) == MAML.Settings(rule=LearnedRates(rate=0.1), steps=3)
