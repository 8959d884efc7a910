"""Intervals cover, tests are exact where they can be, and impossible comparisons are refused."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from quickstudy.errors import SettingsError
from quickstudy.evaluate.record import Result
from quickstudy.evaluate.statistics import (
    class_bootstrap,
    compare,
    holm,
    paired,
    sign_flip,
    t_interval,
    t_quantile,
)


def result(name: str, values: list[float], **changes: object) -> Result:
    made = Result(name, "accuracy", 0, 0, 0, None, None, tuple(values), 0, 0, "d")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


# As printed in tables of Student's t, to ten digits.
@pytest.mark.parametrize(
    ("p", "freedom", "expected"),
    [
        (0.975, 1, 12.7062047362),
        (0.975, 2, 4.3026527297),
        (0.975, 3, 3.1824463053),
        (0.95, 4, 2.1318467863),
        (0.975, 5, 2.5705818356),
        (0.975, 10, 2.2281388520),
        (0.995, 30, 2.7499956536),
        (0.975, 120, 1.9799304051),
        (0.975, 999, 1.9623414611),
        (0.025, 10, -2.2281388520),
    ],
)
def test_t_quantiles_are_those_of_the_tables(p: float, freedom: int, expected: float) -> None:
    assert t_quantile(p, freedom) == pytest.approx(expected, abs=1e-6)


def test_t_quantiles_have_the_closed_forms_of_one_and_two_degrees_and_the_normal_limit() -> None:
    for p in (0.5, 0.6, 0.9, 0.999):
        assert t_quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), abs=1e-9)
        alpha = 4 * p * (1 - p)
        assert t_quantile(p, 2) == pytest.approx((2 * p - 1) * math.sqrt(2 / alpha), abs=1e-9)
    assert t_quantile(0.975, 100_000) == pytest.approx(1.959963985, abs=5e-5)


@pytest.mark.parametrize(("p", "freedom"), [(0.0, 3), (1.0, 3), (0.9, 0)])
def test_impossible_quantiles_are_refused(p: float, freedom: int) -> None:
    with pytest.raises(SettingsError, match="one or more degrees of freedom"):
        t_quantile(p, freedom)


def test_the_t_interval_is_the_textbook_one() -> None:
    mean, low, high = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451052 * math.sqrt(2.5 / 5)
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half))


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert t_interval([0.25] * 9) == (0.25, 0.25, 0.25)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(SettingsError, match=r"two or more values, got 1\. Evaluate more"):
        t_interval([0.5])


def episodes(generator: np.random.Generator, count: int, classes: int, ways: int) -> NDArray[np.int64]:
    return np.argsort(generator.random((count, classes)), 1)[:, :ways]


def coverage(classes: int, ways: int, count: int, spread: float) -> tuple[float, float]:
    """How often the class bootstrap and the t-interval hold the mean over all the classes there could be."""
    generator = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(200):
        held = episodes(generator, count, classes, ways)
        ease = spread * generator.normal(size=classes)
        values = 0.7 + ease[held].sum(1) + 0.1 * generator.normal(size=count)
        boot = class_bootstrap(values, held, draws=400)
        assert boot is not None
        plain = t_interval(values)
        hits += [boot.low <= 0.7 <= boot.high, plain.low <= 0.7 <= plain.high]
    return hits[0] / 200, hits[1] / 200


@pytest.mark.parametrize(("classes", "ways", "count"), [(20, 5, 200), (100, 5, 200), (100, 20, 200)])
def test_the_class_bootstrap_covers_other_classes_where_the_t_interval_does_not(
    classes: int, ways: int, count: int
) -> None:
    boot, plain = coverage(classes, ways, count, spread=0.05)
    assert 0.88 < boot < 0.99  # two thousand simulations gave 92% to 94%
    assert plain < 0.75


def test_the_class_bootstrap_is_as_wide_as_weighting_by_products_of_multiplicities_where_that_is_feasible() -> None:
    generator = np.random.default_rng(4)
    held = np.array(list(itertools.combinations(range(40), 2)))
    ease = generator.normal(size=40)
    values = ease[held].sum(1) + 0.3 * ease[held].prod(1)
    multiplicity = generator.multinomial(40, np.full(40, 1 / 40), size=4000)
    weight = multiplicity[:, held].prod(2)
    low, high = np.quantile((weight @ values) / weight.sum(1), [0.025, 0.975])
    boot = class_bootstrap(values, held)
    assert boot is not None
    assert (boot.high - boot.low) / (high - low) == pytest.approx(1.05, abs=0.1)
    assert boot.low == pytest.approx(low, abs=0.15 * (high - low))


def test_without_differences_between_classes_the_class_bootstrap_is_little_wider_than_the_t_interval() -> None:
    generator = np.random.default_rng(1)
    values, held = generator.random(1000), episodes(generator, 1000, 200, 5)
    boot, plain = class_bootstrap(values, held), t_interval(values)
    assert boot is not None
    assert boot.mean == plain.mean
    assert 0.9 < (boot.high - boot.low) / (plain.high - plain.low) < 1.6


def test_the_class_bootstrap_handles_constants_varying_ways_and_every_class_in_every_episode() -> None:
    generator = np.random.default_rng(2)
    held = episodes(generator, 50, 12, 4)
    assert class_bootstrap(np.full(50, 0.5), held) == (0.5, 0.5, 0.5)
    held[::2, 3] = -1
    values = generator.random(50)
    assert class_bootstrap(values, held) == class_bootstrap(values, held + 100 * (held >= 0))  # ids are only names
    assert class_bootstrap(values, np.tile(np.arange(5), (50, 1))) is None
    with pytest.raises(SettingsError, match="got 50 values and the classes of 49 episodes"):
        class_bootstrap(values, held[1:])


def test_the_sign_flip_test_counts_all_flips_of_a_few_differences() -> None:
    differences = [0.3, -0.1, 0.4, 0.2, 0.1, 0.0, 0.25]
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in _signs(7)]
    expected = sum(total >= abs(sum(differences)) - 1e-9 for total in sums) / 2**7
    assert sign_flip(differences) == expected
    assert sign_flip([0.0] * 5) == 1.0
    assert sign_flip([1.0] * 10) == 2 / 2**10


def _signs(n: int) -> list[tuple[int, ...]]:
    return list(itertools.product((-1, 1), repeat=n))


def test_the_sampled_sign_flip_test_agrees_with_the_normal_limit() -> None:
    differences = np.random.default_rng(3).normal(size=400)
    z = abs(differences.sum()) / math.sqrt((differences**2).sum())
    assert sign_flip(differences) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.02)
    assert sign_flip(differences) == sign_flip(-differences)
    assert sign_flip(differences + 1) == 1 / 10_001
    assert math.isnan(sign_flip([1.0, math.nan]))


def test_holm_is_the_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_pairs_have_the_interval_of_the_difference() -> None:
    a, b = result("a", [0.5, 0.7, 0.9]), result("b", [0.4, 0.4, 0.7])
    interval, p = paired(a, b)
    assert interval == pytest.approx(t_interval([0.1, 0.3, 0.2]))
    assert p == 2 / 2**3
    back, _ = paired(b, a)
    assert back.low == pytest.approx(-interval.high)


def test_every_pair_is_compared_and_adjusted() -> None:
    three = [result("a", [0.9] * 6), result("b", [0.5, 0.6, 0.5, 0.6, 0.5, 0.6]), result("c", [0.5] * 6)]
    pairs = compare(three)
    assert [(pair.a, pair.b) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.p_holm for pair in pairs] == holm([pair.p for pair in pairs])
    assert pairs[1].difference == pytest.approx(0.4)
    assert compare(three[:1]) == ()


def test_results_that_cannot_be_compared_are_refused() -> None:
    a = result("a", [0.5, 0.6])
    with pytest.raises(SettingsError, match=r"different episodes \(d and e\).*same protocol"):
        paired(a, result("b", [0.5, 0.6], digest="e"))
    with pytest.raises(SettingsError, match="different episodes"):
        paired(a, result("b", [0.5, 0.6, 0.7]))
    with pytest.raises(SettingsError, match="'a' is measured by accuracy and 'b' by mse"):
        paired(a, result("b", [0.5, 0.6], metric="mse"))
    with pytest.raises(SettingsError, match="two of the results compared are called 'a'"):
        compare([a, a])
