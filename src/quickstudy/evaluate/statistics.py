"""Intervals and tests for results over episodes: what may be said of a method, and how surely.

Two intervals answer two questions. The t-interval over episodes says where the mean would lie if more episodes were
drawn from *these* test classes. The class bootstrap says where it would lie with *other* test classes as well, and is
the wider one: a thousand episodes over twenty classes are not a thousand independent facts.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quickstudy.core import chance
from quickstudy.errors import SettingsError
from quickstudy.evaluate.record import Pair, Result

__all__ = ["Interval", "class_bootstrap", "compare", "holm", "paired", "sign_flip", "t_interval", "t_quantile"]

LEVEL = 0.95
DRAWS = 2000
FLIPS = 10_000

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of independent values and Student's interval for it; of no width where they are all equal, and of no end
    where one is not finite.

    >>> round(t_interval([0.5, 0.7, 0.9]).mean, 6)
    0.7

    Raises:
        SettingsError: fewer than two values.
    """
    v = _vector(values)
    mean = float(v.mean())
    if not math.isfinite(mean):  # a learner diverged: nothing is known of the mean
        return Interval(mean, -math.inf, math.inf)
    half = t_quantile((1 + level) / 2, len(v) - 1) * float(v.std(ddof=1)) / math.sqrt(len(v))
    return Interval(mean, mean - half, mean + half)


@functools.lru_cache(maxsize=256)
def t_quantile(p: float, freedom: int) -> float:
    """The quantile of Student's t with a whole number of degrees of freedom.

    Bisection on the closed form of its distribution (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
    """
    if not 0 < p < 1 or freedom < 1:
        raise SettingsError(f"t_quantile({p}, {freedom}): expected 0 < p < 1 and one or more degrees of freedom.")
    if p < 0.5:
        return -t_quantile(1 - p, freedom)
    inside = _t_inside(freedom)
    low, high = 0.0, 1.0
    while inside(high) < 2 * p - 1:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if inside(middle) < 2 * p - 1 else (low, middle)
    return high


class _t_inside:  # noqa: N801 (used as a function)
    """P(|T| < t) of Student's t: a finite sum in the angle θ = arctan(t / √freedom)."""

    def __init__(self, freedom: int) -> None:
        self.freedom, self.odd = freedom, freedom % 2
        powers = np.arange(2.0 + self.odd, freedom - 1, 2.0)  # of cos θ, after the first
        terms = np.cumprod(np.append(1.0, (powers - 1) / powers)) if freedom > 1 else np.zeros(0)
        self.terms: Floats = terms.astype(np.float64)
        self.powers: Floats = np.arange(len(terms), dtype=np.float64) * 2 + self.odd

    def __call__(self, t: float) -> float:
        angle = math.atan2(t, math.sqrt(self.freedom))
        total = float((self.terms * math.cos(angle) ** self.powers).sum()) * math.sin(angle)
        return 2 / math.pi * (angle + total) if self.odd else total


def class_bootstrap(
    values: ArrayLike, classes: NDArray[np.int64], level: float = LEVEL, draws: int = DRAWS
) -> Interval | None:
    """The mean over episodes and an interval for other test classes, drawn like these ones.

    The mean over episodes is an (incomplete) U-statistic of the classes. Resampling classes with multiplicities m_c
    would weight an episode by the product of its classes' multiplicities, which for many ways leaves hardly an episode;
    as the bootstrap of a U-statistic does in the limit (Arcones and Giné 1992), its first-order part is resampled
    instead: mean + ways/classes · Σ (m_c - 1) b_c, where b_c is what having class c in an episode adds to its value.
    The b_c are estimated from the episodes, so their spread holds noise that is not of classes: they are shrunk to the
    spread that is left without it. What the finite number of episodes leaves open is added as normal noise. The
    interval is the expanded percentile one of Hesterberg (2015), which is not too narrow for few classes.

    In simulations with 20 to 659 classes, 5 or 20 ways and 200 to 1,000 episodes it held the truth 90 to 96 times in a
    hundred, where the t-interval over episodes did so 14 to 87 times.

    Args:
        values: The metric of each episode, [e].
        classes: The classes of each episode, [e, ways], as whole numbers; -1 where it has fewer ways.
        level: How often such intervals are to cover the truth.
        draws: How many times the classes are resampled.

    Returns:
        The interval; None where it cannot be known: every episode holds all the classes there are.
    """
    v = _vector(values)
    effects, ways, count = _class_effects(v, classes)
    if ways >= count:
        return None
    key = chance.key("class bootstrap", count, draws)
    picked = chance.words(key, range(draws), count) * np.uint64(count) >> np.uint64(32)
    total = effects[picked.astype(np.int64)].sum(1)  # Σ m_c b_c, and Σ b_c is subtracted below
    noise = chance.normals(chance.key("class bootstrap noise", draws), range(draws), 1)[:, 0]
    means = v.mean() + ways / count * (total - effects.sum()) + noise * v.std(ddof=1) / math.sqrt(len(v))
    outside = 1 - _normal_below(t_quantile((1 + level) / 2, count - 1) * math.sqrt(count / (count - 1)))
    low, high = np.quantile(means, [outside, 1 - outside])
    return Interval(float(v.mean()), float(low), float(high))


def _class_effects(v: Floats, classes: NDArray[np.int64]) -> tuple[Floats, float, int]:
    """What each class adds to the value of an episode that holds it (shrunk), the mean ways, the number of classes."""
    if len(classes) != len(v):
        raise SettingsError(f"class_bootstrap: got {len(v)} values and the classes of {len(classes)} episodes.")
    episode, slot = np.nonzero(classes >= 0)
    _, member = np.unique(classes[episode, slot], return_inverse=True)
    count, ways = int(member.max()) + 1, len(member) / len(v)
    held = np.bincount(member)
    centred = (v - v.mean())[episode]
    raw = np.bincount(member, centred) / held
    if ways >= count or not np.isfinite(v).all():
        return raw, ways, count
    # The rest of an episode is drawn from the other classes, which offsets a part of the effect of the one.
    raw *= (count - 1) / (count - ways)
    noise = float(v.var(ddof=1)) * (1 / held - 1 / len(v)) * ((count - 1) / (count - ways)) ** 2
    spread = float(raw.var())
    return raw * math.sqrt(max(0.0, 1 - float(noise.mean()) / spread) if spread else 0.0), ways, count


def paired(a: Result, b: Result, level: float = LEVEL) -> tuple[Interval, float]:
    """The mean of a - b over the episodes that both were evaluated on, its t-interval, and the sign-flip p-value.

    Raises:
        SettingsError: they were not evaluated on the same episodes, or not by the same metric.
    """
    if a.digest != b.digest or len(a.values) != len(b.values):
        raise SettingsError(
            f"{a.name!r} and {b.name!r} were evaluated on different episodes ({a.digest} and {b.digest}), so they "
            "cannot be compared in pairs. Evaluate both with the same protocol."
        )
    if a.metric != b.metric:
        raise SettingsError(f"{a.name!r} is measured by {a.metric} and {b.name!r} by {b.metric}; expected one metric.")
    difference = np.subtract(a.values, b.values)
    return t_interval(difference, level), sign_flip(difference)


def compare(results: Sequence[Result], level: float = LEVEL) -> tuple[Pair, ...]:
    """Every pair of results on the same episodes, with p-values adjusted for their number (Holm).

    Raises:
        SettingsError: two of one name, or results that cannot be paired.
    """
    names = [result.name for result in results]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(f"two of the results compared are called {twice[0]!r}. Give each a name of its own.")
    couples = list(itertools.combinations(results, 2))
    found = [paired(a, b, level) for a, b in couples]
    adjusted = holm([p for _, p in found])
    return tuple(
        Pair(a.name, b.name, *interval, p, p_holm)
        for (a, b), (interval, p), p_holm in zip(couples, found, adjusted, strict=True)
    )


def sign_flip(differences: ArrayLike, flips: int = FLIPS) -> float:
    """The two-sided p-value that paired differences are symmetric around zero (Fisher's randomisation test).

    Every difference keeps or changes its sign at random, `flips` times; the p-value is how often the mean comes out
    as far from zero as it did, the outcome itself counted once. Where there are no more than `flips` ways to choose
    the signs, each is tried once and the p-value is exact.
    """
    d = _vector(differences)
    if not np.isfinite(d).all():
        return math.nan
    n, exact = len(d), len(d) < 63 and 2 ** len(d) <= flips
    rows = 2**n if exact else flips
    observed, slack = abs(d.sum()), 1e-12 * np.abs(d).sum()  # rounding must not break ties
    further = 0
    for start in range(0, rows, 1000):
        at = np.arange(start, min(start + 1000, rows), dtype=np.uint64)
        words = at[:, None] if exact else chance.words(chance.key("sign flips"), at, -(-n // 32))
        bits = (words[:, :, None] >> np.arange(min(n, 32), dtype=np.uint64)) & np.uint64(1)
        signs = bits.reshape(len(at), -1)[:, :n].astype(np.float64) * 2 - 1
        further += int((np.abs(signs @ d) >= observed - slack).sum())
    return further / rows if exact else (further + 1) / (rows + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the order given (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = reached
    return adjusted


def _normal_below(z: float) -> float:
    return statistics.NormalDist().cdf(z)


def _vector(values: ArrayLike) -> Floats:
    v = np.asarray(values, dtype=np.float64).ravel()
    if len(v) < 2:
        raise SettingsError(f"an interval needs two or more values, got {len(v)}. Evaluate more episodes.")
    return v
