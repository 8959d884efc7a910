"""The one number by which what a method says is scaled, so that nobody is blamed for a scale."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["fitted"]

LEAST, MOST = 0.05, 20.0


def fitted(cost: Callable[[float], float]) -> float:
    """The number from 1/20 to 20 that costs least, by golden sections of its logarithm."""
    low, high, ratio = math.log(LEAST), math.log(MOST), (math.sqrt(5) - 1) / 2
    for _ in range(16):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if cost(math.exp(a)) < cost(math.exp(b)) else (a, high)
    return math.exp((low + high) / 2)
