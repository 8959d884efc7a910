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

    Episodes are a function of their source and their numbers, so a guess that proves wrong costs time and nothing else.

    Args:
        device: Where they will be used.
        threaded: Whether to sample ahead at all; by default on accelerators. A processor would gain nothing.
    """

    def __init__(self, device: torch.device, *, threaded: bool | None = None) -> None:
        self.device = device
        threaded = device.type != "cpu" if threaded is None else threaded
        self._thread = ThreadPoolExecutor(1, "quickstudy-ahead") if threaded else None
        self._next: tuple[TaskSource, range, Future[Episode]] | None = None

    def take(self, source: TaskSource, numbers: range) -> Episode:
        """The episodes of these numbers, on the processor."""
        known, self._next = self._next, None
        return known[2].result() if known and known[:2] == (source, numbers) else self._sample(source, numbers)

    def begin(self, source: TaskSource, numbers: range) -> None:
        """Have these episodes sampled, which are the next to be taken."""
        if self._thread is not None and numbers:
            self._next = source, numbers, self._thread.submit(self._sample, source, numbers)

    def _sample(self, source: TaskSource, numbers: range) -> Episode:
        episodes = source.batch(numbers)
        return tree.map_leaves(Tensor.pin_memory, episodes) if self.device.type == "cuda" else episodes
