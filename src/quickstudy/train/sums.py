"""The gradient of a step, added up over chunks of tasks and over workers."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from quickstudy.core.shapes import Float, Tensor
from quickstudy.core.workers import Workers

__all__ = ["Sums"]


class Sums:
    """Gradients and losses of a step's chunks, added up in float64 and rounded once, at the end.

    So it hardly matters in which order they are added: workers that share the tasks of a step take the steps of one
    process that takes the same chunks. (Apple's GPUs have no float64; there it is float32.)

    Args:
        weights: Whose gradients they are.
        device: Where the weights are.
    """

    def __init__(self, weights: Iterable[Tensor], device: torch.device) -> None:
        self.weights = list(weights)
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self.slopes: list[Tensor | None] = [None] * len(self.weights)
        self.loss: Float[Tensor, ""] = torch.zeros((), dtype=self.dtype, device=device)

    def add(self, loss: Float[Tensor, ""]) -> None:
        """Take the gradient that a chunk left in the weights out of them, and its loss, into the sums."""
        self.loss = self.loss + loss.detach()
        for place, weight in enumerate(self.weights):
            if weight.grad is None:
                continue
            slope = weight.grad.to(self.dtype)
            known = self.slopes[place]
            self.slopes[place] = slope if known is None else known.add_(slope)
            weight.grad = None

    def leave(self, workers: Workers) -> Float[Tensor, ""]:
        """Leave the sums over all workers in the weights' gradients; the sum of the losses.

        Raises:
            WorkersError: a worker is lost.
        """
        shapes = [weight.shape for weight in self.weights]
        slopes, loss = workers.add_up(self.slopes, shapes, self.loss)
        for weight, slope in zip(self.weights, slopes, strict=True):
            weight.grad = None if slope is None else slope.to(weight.dtype)
        return loss
