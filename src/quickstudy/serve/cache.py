"""Learners at hand: unpacked, the least recently used ones given up when they take too much room."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from quickstudy.bundle import Bundle, Learner
from quickstudy.serve.metrics import Metrics

__all__ = ["Cache", "Live"]

OVERHEAD = 4096
"""Bytes that an entry takes besides its tensors: Python's own."""


class Live(NamedTuple):
    """A learner ready to predict."""

    bundle: Bundle
    learner: Learner
    classes: tuple[str, ...]
    revision: int
    shapes: Hashable
    """What it shares with learners that are asked in one call with it."""
    seen: list[float]
    """When it was last known to be what is stored, by the monotonic clock: one number, which changes."""

    @classmethod
    def of(
        cls, bundle: Bundle, learner: Learner, classes: tuple[str, ...], revision: int, seen: float = -math.inf
    ) -> Live:
        """A learner with what is told from it."""
        return cls(
            bundle,
            learner,
            classes,
            revision,
            learner.leaves.shapes,
            [seen],
        )


class Cache:
    """Learners by tenant and id, of so many bytes together. What is found here is only valid at its revision."""

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most, self._metrics = most, metrics
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, str], Live] = OrderedDict()
        self._bytes = 0

    def get(self, tenant: str, id: str) -> Live | None:
        """The learner as it was last seen."""
        with self._lock:
            found = self._held.get((tenant, id))
            if found is not None:
                self._held.move_to_end((tenant, id))
            return found

    def put(self, tenant: str, id: str, live: Live) -> None:
        """Keep a learner, unless one of a later revision is here."""
        with self._lock:
            before = self._held.get((tenant, id))
            if before is not None and before.revision > live.revision:
                return
            self._drop(tenant, id)
            self._held[tenant, id] = live
            self._bytes += _size(live)
            while self._bytes > self._most and len(self._held) > 1:
                oldest = next(iter(self._held))
                self._drop(*oldest)
            self._count()

    def drop(self, tenant: str, id: str) -> None:
        """Forget a learner."""
        with self._lock:
            self._drop(tenant, id)
            self._count()

    def _drop(self, tenant: str, id: str) -> None:
        gone = self._held.pop((tenant, id), None)
        if gone is not None:
            self._bytes -= _size(gone)

    def _count(self) -> None:
        self._metrics.cached.set(len(self._held))
        self._metrics.cached_bytes.set(self._bytes)


def _size(live: Live) -> int:
    return live.learner.nbytes + OVERHEAD
