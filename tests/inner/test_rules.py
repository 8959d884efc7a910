"""Step rules against torch's optimisers and closed forms."""

import math

import pytest
import torch

from quickstudy import SGD, Adam, LearnedRates, Momentum, unroll
from quickstudy.errors import SettingsError

STEPS = 7


def problem():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {"w": normal(3, 2), "b": normal(2)}, (normal(5, 3), normal(5, 2))


def loss(params, x, y):
    return (torch.tanh(x @ params["w"] + params["b"]) - y).square().mean()


def by_torch(make_optimizer):
    params, data = problem()
    params = {name: value.clone().requires_grad_() for name, value in params.items()}
    optimizer = make_optimizer(params.values())
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(params, *data).backward()
        optimizer.step()
    return params


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        (SGD(rate=0.3), lambda p: torch.optim.SGD(p, lr=0.3)),
        (Momentum(rate=0.2, decay=0.8), lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.8)),
        (Adam(rate=0.05, decay1=0.8, decay2=0.9), lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.9))),
        (LearnedRates(rate=0.3), lambda p: torch.optim.SGD(p, lr=0.3)),
        (LearnedRates(rate=0.3, per="tensor"), lambda p: torch.optim.SGD(p, lr=0.3)),
        (LearnedRates(rate=0.3, space="log"), lambda p: torch.optim.SGD(p, lr=0.3)),
        (LearnedRates(rate=0.3, per="tensor", steps=3, space="log"), lambda p: torch.optim.SGD(p, lr=0.3)),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
def test_steps_are_torch_s(rule, optimizer):
    params, data = problem()
    end = unroll(loss, params, data, rule=rule, steps=STEPS, learned=rule.learned(params))[-1]
    for name, expected in by_torch(optimizer).items():
        torch.testing.assert_close(end[name], expected.detach(), rtol=1e-6, atol=1e-7)


def test_only_learned_rates_learn():
    params, _ = problem()
    for rule in (SGD(), Momentum(), Adam()):
        assert rule.learned(params) == {}
    element, tensor = LearnedRates(rate=0.2), LearnedRates(rate=0.2, per="tensor")
    for name, value in params.items():
        torch.testing.assert_close(element.learned(params)[name], torch.full_like(value, 0.2))
        torch.testing.assert_close(tensor.learned(params)[name], torch.tensor(0.2, dtype=torch.float64))


def test_every_number_may_have_its_own_rate():
    params, data = problem()
    rates = {"w": torch.zeros(3, 2, dtype=torch.float64), "b": torch.tensor([0.5, -0.5], dtype=torch.float64)}
    _, end = unroll(loss, params, data, rule=LearnedRates(), steps=1, learned=rates)
    slope = torch.func.grad(loss)(params, *data)
    assert torch.equal(end["w"], params["w"])
    torch.testing.assert_close(end["b"], params["b"] - rates["b"] * slope["b"])


def test_logarithms_of_rates_are_learned_by_shares():
    """d loss / d log(rate) is rate · d loss / d rate, and any number is a positive rate."""
    params, data = problem()
    slopes = {}
    for space, start in (("linear", 0.2), ("log", math.log(0.2))):
        rule = LearnedRates(rate=0.2, per="tensor", steps=2, space=space)
        learned = {name: leaf.requires_grad_() for name, leaf in rule.learned(params).items()}
        torch.testing.assert_close(learned["w"], torch.tensor([start, start], dtype=torch.float64))
        end = unroll(loss, params, data, rule=rule, steps=3, learned=learned)[-1]
        slopes[space] = torch.autograd.grad(loss(end, *data), list(learned.values()))
    for log, linear in zip(slopes["log"], slopes["linear"], strict=True):
        torch.testing.assert_close(log, 0.2 * linear)
    far = {name: torch.tensor(-5.0, dtype=torch.float64) for name in params}
    rule = LearnedRates(per="tensor", space="log")
    _, end = unroll(loss, params, data, rule=rule, steps=1, learned=far)
    slope = torch.func.grad(loss)(params, *data)
    for name, weight in params.items():
        torch.testing.assert_close(end[name], weight - math.exp(-5) * slope[name])


def test_adam_has_a_derivative_at_a_slope_of_zero():
    start = {"w": torch.zeros(2, dtype=torch.float64, requires_grad=True)}
    end = unroll(lambda p, x: (p["w"] * x).square().sum(), start, (torch.ones(2).double(),), rule=Adam(), steps=3)[-1]
    end["w"].sum().backward()
    assert torch.isfinite(start["w"].grad).all()


@pytest.mark.parametrize(
    ("rule", "mistake", "message"),
    [
        (SGD, {"rate": 0}, r"SGD\.rate: .*greater than 0, got 0"),
        (Momentum, {"decay": 1.1}, r"Momentum\.decay: .*less than or equal to 1, got 1\.1"),
        (Adam, {"beta": 0.9}, r"Adam has no setting 'beta'"),
        (LearnedRates, {"per": "layer"}, r"LearnedRates\.per: .*'element' or 'tensor', got 'layer'"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_settings_are_checked(rule, mistake, message):
    with pytest.raises(SettingsError, match=message):
        rule(**mistake)
