"""A histogram with tails is a distribution; a prior-fitted network is one pass of a transformer that ends in it."""

from __future__ import annotations

import math

import pytest
import torch

from helpers import random_points, torchs_transformer
from quickstudy import Examples
from quickstudy.core.predictions import Ordered, Prediction
from quickstudy.methods.memory.bars import Bars, normal_borders
from quickstudy.methods.memory.pfn import PFN
from quickstudy.nets import Flatten

WIDTH = 8


def histogram(n: int = 3, bars: int = 7, seed: int = 0) -> Bars:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 1, bars, generator=generator, dtype=torch.float64)
    return Bars(logits, normal_borders(bars, 1.5).expand(n, 1, -1))


def along(
    bars: Bars, low: float = -30.0, high: float = 30.0, count: int = 1_200_001
) -> tuple[torch.Tensor, torch.Tensor]:
    """Places, and the density at each of them, of the first prediction."""
    places = torch.linspace(low, high, count, dtype=torch.float64)
    one = Bars(bars.logits[:1].expand(count, -1, -1), bars.borders[:1].expand(count, -1, -1))
    return places, (-one.nll(places[:, None])).exp()


def test_density_mean_and_distribution_agree():
    bars = histogram()
    places, density = along(bars)
    step = float(places[1] - places[0])
    assert float(density.sum()) * step == pytest.approx(1, abs=1e-4)
    assert float((places * density).sum()) * step == pytest.approx(float(bars.mean[0, 0]), abs=1e-4)
    cumulated = density.cumsum(0) * step
    for y in (-6.0, -2.0, -0.3, 0.0, 0.9, 3.0, 7.0):
        below = bars.cdf(torch.full((3, 1), y, dtype=torch.float64))
        assert float(below[0, 0]) == pytest.approx(float(cumulated[torch.searchsorted(places, y)]), abs=2e-4)
    for p in (0.01, 0.05, 0.3, 0.5, 0.77, 0.95, 0.99):
        torch.testing.assert_close(bars.cdf(bars.quantile(p)), torch.full((3, 1), p, dtype=torch.float64))


def test_it_is_a_prediction_of_ordered_values():
    bars = histogram()
    assert isinstance(bars, Prediction)
    assert isinstance(bars, Ordered)
    y = torch.tensor([[0.2], [5.0], [-9.0]], dtype=torch.float64)
    torch.testing.assert_close(bars.score(y), (y - bars.mean).square()[:, 0])


def test_inner_bars_are_flat_and_outer_ones_half_normal():
    bars = histogram(1)
    p, borders = bars.logits[0, 0].softmax(0), bars.borders[0, 0]
    inside = (borders[2] + borders[3]) / 2
    assert -float(bars.nll(inside[None, None])) == pytest.approx(math.log(p[2] / (borders[3] - borders[2])))
    outside = torch.tensor(-7.0, dtype=torch.float64)
    tail = torch.distributions.HalfNormal((borders[1] - borders[0]) / 0.67448975)
    assert -float(bars.nll(outside[None, None])) == pytest.approx(
        float(p[0].log() + tail.log_prob(borders[1] - outside))
    )
    half = bars.cdf(borders[:1, None])
    assert float(half) == pytest.approx(float(p[0]) / 2, abs=1e-6)


def test_even_bars_are_as_likely_for_a_normal():
    borders = normal_borders(10, 2.0)
    below = torch.distributions.Normal(0.0, 2.0).cdf(borders)
    torch.testing.assert_close(below[1:-1].diff(), torch.full((8,), 0.1, dtype=torch.float64))
    torch.testing.assert_close(below[[0, -1]], torch.tensor([0.05, 0.95], dtype=torch.float64))
    with pytest.raises(ValueError, match="3 bars or more, got 2"):
        normal_borders(2, 1.0)


def build(**settings) -> PFN:
    torch.manual_seed(0)
    settings = {"width": WIDTH, "hidden": 16, "heads": 2, "layers": 2, "bars": 5, **settings}
    method = PFN(Flatten((2,)), 1, likelihood="gaussian", **settings).double()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return method


def test_it_is_one_pass_in_which_all_see_the_training_rows():
    method, given, asked = build(), random_points(5, 1), random_points(4, 2).x
    peer = torchs_transformer(method.transformer.blocks, activation="gelu")
    rows = method.of_input(given.x) + method.of_target(given.y)
    tokens = torch.cat([rows, method.of_input(asked)])
    out = peer(tokens[None], mask=torch.arange(9).expand(9, 9) >= 5)[0, 5:]
    said = method.predict(method.adapt(given), asked)
    torch.testing.assert_close(said.logits[:, 0], method.head(out))


def test_the_order_of_rows_does_not_matter():
    method, given, asked = build(), random_points(6, 1), random_points(4, 2).x
    turned = Examples(*(field.flip(0) for field in given))
    said, other = (method.predict(method.adapt(each), asked).logits for each in (given, turned))
    torch.testing.assert_close(said, other)


def test_layers_start_as_doing_nothing():
    torch.manual_seed(0)
    method = PFN(Flatten((2,)), 1)
    for block in method.transformer.blocks:
        assert not block.attention.out.weight.any()
        assert not block.perceptron[-1].weight.any()
