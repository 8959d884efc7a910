"""Episodes sampled by a second thread while the device computes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from quickstudy.core import tree
from quickstudy.core.episode import Episode
from quickstudy.core.shapes import Tensor
from quickstudy.tasks.source import TaskSource

__all__ = ["Ahead"]


class Ahead:
    """The episodes of one step after another, the next of them sampled ahead.

    Episodes are a function of their numbers, so a guess that proves wrong costs time and nothing else.

    Args:
        source: The tasks.
        device: Where they will be used.
        threaded: Whether to sample ahead at all; by default on accelerators. A processor would gain nothing.
    """

    def __init__(self, source: TaskSource, device: torch.device, *, threaded: bool | None = None) -> None:
        self.source, self.device = source, device
        threaded = device.type != "cpu" if threaded is None else threaded
        self._thread = ThreadPoolExecutor(1, "quickstudy-ahead") if threaded else None
        self._next: tuple[range, Future[Episode]] | None = None

    def take(self, numbers: range, following: range | None = None) -> Episode:
        """The episodes of these numbers, on the processor; those of `following` are begun."""
        known, self._next = self._next, None
        episodes = known[1].result() if known and known[0] == numbers else self._sample(numbers)
        if self._thread is not None and following:
            self._next = following, self._thread.submit(self._sample, following)
        return episodes

    def _sample(self, numbers: range) -> Episode:
        episodes = self.source.batch(numbers)
        return tree.map_leaves(Tensor.pin_memory, episodes) if self.device.type == "cuda" else episodes
