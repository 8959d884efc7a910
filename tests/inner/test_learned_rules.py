"""Rules that learn how to step: against closed forms, torch's own cells, and finite differences."""

import pytest
import torch
from torch import nn

from quickstudy import SGD, LearnedRates, registry, unroll
from quickstudy.core import tree
from quickstudy.errors import SettingsError
from quickstudy.inner import descend
from quickstudy.inner.alfa import ALFA
from quickstudy.inner.curvature import MetaCurvature
from quickstudy.inner.lstm import CoordinateLSTM, MetaLSTM

RULES = [
    LearnedRates(rate=0.2, per="tensor", steps=2),
    LearnedRates(rate=0.2, steps=2),
    MetaCurvature(rate=0.2),
    MetaCurvature(rate=0.2, largest=2),
    ALFA(rate=0.2, steps=2),
    MetaLSTM(hidden=3),
    CoordinateLSTM(hidden=3),
]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def start():
    return {"w": normal(4, 3), "b": normal(4, seed=1)}


def data(seed=5):
    return normal(6, 3, seed=seed), normal(6, 4, seed=seed + 1)


def loss(params, x, y):
    return (torch.tanh(x @ params["w"].T + params["b"]) - y).square().mean()


def moved(tensors, by=0.1):
    """Away from special values that would hide a fault."""
    return {name: leaf + by * normal(*leaf.shape, seed=i) for i, (name, leaf) in enumerate(tensors.items())}


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_it_agrees_with_finite_differences(rule):
    """In the start and in everything learned, through three steps."""
    params = tree.map_leaves(lambda leaf: leaf.requires_grad_(), (start(), moved(rule.learned(start()))))
    flat, spec = tree.flatten(params)

    def outer(flat):
        at, learned = tree.unflatten(flat, spec)
        return loss(unroll(loss, at, data(), rule=rule, steps=3, learned=learned)[-1], *data(seed=9))

    slopes = torch.autograd.grad(outer(flat), flat)
    along = [normal(*leaf.shape, seed=30 + i) for i, leaf in enumerate(flat)]
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (outer([a + s * d for a, d in zip(flat, along, strict=True)]) for s in (step, -step))
    expected = sum((slope * d).sum() for slope, d in zip(slopes, along, strict=True))
    torch.testing.assert_close((ahead - behind) / (2 * step), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_it_starts_the_same_each_time(rule):
    once, again = rule.learned(start()), rule.learned(start())
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert all(leaf.dtype == torch.float64 for leaf in once.values())


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("walk", [unroll, descend])
def test_it_does_not_run_from_its_start_unnoticed(walk, rule):
    with pytest.raises(
        SettingsError, match=f"the rule {registry.name_of(type(rule))!r} has tensors to learn .*`learned`"
    ):
        walk(loss, start(), data(), rule=rule, steps=1)


def test_every_step_may_have_rates_of_its_own():
    rule = LearnedRates(per="tensor", steps=2)
    rates = {"w": torch.tensor([0.3, 0.1]), "b": torch.tensor([0.0, 0.2])}
    path = unroll(loss, start(), data(), rule=rule, steps=3, learned=rates)
    for number, at in enumerate((0, 1, 1)):
        slope = torch.func.grad(loss)(path[number], *data())
        for name in rates:
            torch.testing.assert_close(path[number + 1][name], path[number][name] - rates[name][at] * slope[name])


def test_curvature_multiplies_along_each_axis():
    rule, weights = MetaCurvature(rate=0.5), {"conv": normal(4, 3, 2, 2), "b": normal(4)}
    learned = moved(rule.learned(weights))
    assert {name: tuple(leaf.shape) for name, leaf in learned.items()} == {
        "conv.axis0": (4, 4),
        "conv.axis1": (3, 3),
        "conv.axis2": (4, 4),
        "b.axis0": (4, 4),
    }
    slope = {"conv": normal(4, 3, 2, 2, seed=7), "b": normal(4, seed=8)}
    after, _ = rule.step(weights, slope, (), learned)
    turned = torch.einsum(
        "oif,ao,bi,cf->abc", slope["conv"].flatten(2), *(learned[f"conv.axis{axis}"] for axis in range(3))
    )
    torch.testing.assert_close(after["conv"], weights["conv"] - 0.5 * turned.view(4, 3, 2, 2))
    torch.testing.assert_close(after["b"], weights["b"] - 0.5 * learned["b.axis0"] @ slope["b"])


@pytest.mark.parametrize("largest", [1, 512])
def test_curvature_starts_as_plain_descent(largest):
    rule = MetaCurvature(rate=0.3, largest=largest)
    flat = unroll(loss, start(), data(), rule=rule, steps=3, learned=rule.learned(start()))[-1]
    plain = unroll(loss, start(), data(), rule=SGD(rate=0.3), steps=3)[-1]
    for name in plain:
        torch.testing.assert_close(flat[name], plain[name])


def test_alfa_starts_as_descent_with_weight_decay():
    rule = ALFA(rate=0.3, decay=0.01)
    path = unroll(loss, start(), data(), rule=rule, steps=3, learned=rule.learned(start()))
    params = {name: leaf.clone().requires_grad_() for name, leaf in start().items()}
    optimizer = torch.optim.SGD(params.values(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        value = 0.3 * loss(params, *data()) + 0.005 * sum(leaf.square().sum() for leaf in params.values())
        value.backward()
        optimizer.step()
    for name, leaf in params.items():
        torch.testing.assert_close(path[-1][name], leaf.detach())


def test_alfa_reads_means_alone():
    """Weights and slopes with their entries in another order get the same rates and decays."""
    rule = ALFA(rate=0.3)
    learned = moved(rule.learned(start()), by=0.5)
    slope = {"w": normal(4, 3, seed=7), "b": normal(4, seed=8)}
    order = torch.tensor([2, 0, 3, 1])
    after, _ = rule.step(start(), slope, 0, learned)
    turned, _ = rule.step(*({n: leaf[order] for n, leaf in part.items()} for part in (start(), slope)), 0, learned)
    for name in after:
        torch.testing.assert_close(turned[name], after[name][order])


def cell_of(name, learned, inputs, hidden):
    cell = nn.LSTMCell(inputs, hidden).double()
    with torch.no_grad():
        cell.weight_ih.copy_(learned[f"{name}.read"])
        cell.weight_hh.copy_(learned[f"{name}.recall"])
        cell.bias_ih.copy_(learned[f"{name}.bias"])
        cell.bias_hh.zero_()
    return cell


def read(slope):
    """Of one slope, as the paper's appendix writes it."""
    if abs(slope) >= torch.exp(torch.tensor(-10.0)):
        return [float(slope.abs().log()) / 10, float(slope.sign())]
    return [-1.0, float(slope) * float(torch.exp(torch.tensor(10.0, dtype=torch.float64)))]


def test_the_coordinate_lstm_is_two_of_torchs_cells_for_each_coordinate():
    rule = CoordinateLSTM(hidden=3, scale=0.2)
    learned = moved(rule.learned(start()))
    first, second = cell_of("first", learned, 2, 3), cell_of("second", learned, 3, 3)
    path = unroll(loss, start(), data(), rule=rule, steps=2, learned=learned)
    coordinate = 5  # of "w"
    one, two = None, None
    for number in range(2):
        slope = torch.func.grad(loss)(path[number], *data())["w"].flatten()[coordinate]
        seen = torch.tensor([read(slope)], dtype=torch.float64)
        one = first(seen, one)
        two = second(one[0], two)
        said = two[0] @ learned["said"].T - learned["downhill"] * seen[:, 1]
        step = path[number + 1]["w"].flatten()[coordinate] - path[number]["w"].flatten()[coordinate]
        torch.testing.assert_close(step, 0.2 * said[0, 0].detach())


def test_the_meta_lstm_keeps_and_takes():
    rule = MetaLSTM(hidden=3, rate=0.1)
    learned = moved(rule.learned(start()))
    reader = cell_of("reader", learned, 4, 3)
    path = unroll(loss, start(), data(), rule=rule, steps=2, learned=learned)
    memory, kept, taken = None, torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    for number in range(2):
        slopes, value = torch.func.grad_and_value(loss)(path[number], *data())
        slope, weight = slopes["b"][2], path[number]["b"][2]
        memory = reader(torch.tensor([read(slope) + read(value)], dtype=torch.float64), memory)
        kept, taken = (
            torch.sigmoid(torch.cat([memory[0], weight.view(1, 1), last], 1) @ learned[n].T + learned[f"{n}_bias"])
            for n, last in (("keep", kept), ("take", taken))
        )
        torch.testing.assert_close(path[number + 1]["b"][2], (kept * weight - taken * slope)[0, 0].detach())


def test_the_meta_lstm_begins_with_the_papers_gates():
    learned = MetaLSTM().learned(start())
    assert abs(learned["keep_bias"] - 5) < 0.01
    assert abs(learned["take_bias"] + 5) < 0.01
    for setting in ("keep", "rate"):
        with pytest.raises(SettingsError, match=rf"MetaLSTM\.{setting}: .*less than 1, got 1"):
            MetaLSTM(**{setting: 1.0})


def test_the_meta_lstm_starts_as_descent():
    rule = MetaLSTM(rate=0.1, keep=0.9999)
    learned = rule.learned(start())
    learned |= {gate: torch.zeros_like(learned[gate]) for gate in ("keep", "take")}
    end = unroll(loss, start(), data(), rule=rule, steps=1, learned=learned)[-1]
    plain = unroll(loss, start(), data(), rule=SGD(rate=0.1), steps=1)[-1]
    for name in end:
        torch.testing.assert_close(end[name], plain[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("rule", [MetaLSTM(hidden=3), CoordinateLSTM(hidden=3)], ids=str)
def test_coordinates_share_one_rule(rule):
    """In another order they step in that order."""
    learned, order = moved(rule.learned(start())), torch.tensor([2, 0, 3, 1])
    slope = {"w": normal(4, 3, seed=7), "b": normal(4, seed=8)}
    after, _ = rule.step(start(), slope, rule.start(start()), learned)
    turned, _ = rule.step(
        *({n: leaf[order] for n, leaf in part.items()} for part in (start(), slope)), rule.start(start()), learned
    )
    for name in after:
        torch.testing.assert_close(turned[name], after[name][order])
