"""Ratios of paired measurements, with intervals."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import median
from typing import Any

__all__ = ["exponent", "percentile", "ratio", "spread"]

DRAWS = 2000


def ratio(theirs: Sequence[float], ours: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """The median over rounds of theirs / ours, with its 95 % percentile bootstrap interval.

    Both lists hold one time a round; times of the same round are divided by each other, so that a slow moment of the
    machine, which both met, cancels.
    """
    if len(theirs) != len(ours) or not ours:
        raise ValueError(f"got {len(theirs)} and {len(ours)} times; expected as many of both, one a round.")
    each = [a / b for a, b in zip(theirs, ours, strict=True)]
    low, high = interval(each, seed)
    return {"median": median(each), "low": low, "high": high, "rounds": len(each)}


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the median."""
    chance = random.Random(seed)
    drawn = sorted(median(chance.choices(values, k=len(values))) for _ in range(DRAWS))
    return percentile(drawn, 2.5), percentile(drawn, 97.5)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` percent of the values lie, between neighbours by interpolation."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": median(values), "low": min(values), "high": max(values)}


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> dict[str, float]:
    """The slope of log cost on log size by least squares, with its standard error: cost grows as size to that power."""
    x, y = [math.log(s) for s in sizes], [math.log(c) for c in costs]
    n, mx, my = len(x), sum(x) / len(x), sum(y) / len(y)
    spread_x = sum((a - mx) ** 2 for a in x)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / spread_x
    left = sum((b - my - slope * (a - mx)) ** 2 for a, b in zip(x, y, strict=True))
    return {"exponent": slope, "error": math.sqrt(left / max(1, n - 2) / spread_x)}
