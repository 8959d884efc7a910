"""Stein variational gradient descent as a step rule for several sets of weights at once."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from pydantic import Field

from quickstudy.core.settings import Rate, settings
from quickstudy.core.shapes import Float, Tensor
from quickstudy.inner.rules import Params, Rule

__all__ = ["SVGD"]


@settings
class SVGD(Rule):
    """Particles that descend together and keep apart (Liu and Wang 2016).

    Each tensor has a leading axis of `m` particles: θᵢ ← θᵢ - rate / m · Σⱼ [k(θⱼ, θᵢ) gⱼ - repulsion · ∇k(θⱼ, θᵢ)],
    with k = exp(-‖θⱼ - θᵢ‖² / h), its gradient that in θⱼ, and h the median of the squared distances by log m. The
    slope has to be that of the sum of the particles' losses, so that g is each one's own.
    """

    rate: Rate = 0.4
    """Step size."""
    repulsion: Annotated[float, Field(ge=0)] = 0.1
    """Weight of keeping apart. It is 1 where the loss is that of all examples together; where it is their mean, as in
    inner loops here, 1 / (number of examples)."""

    def step(self, params: Params, slope: Params, state: Any, learned: Params) -> tuple[Params, Any]:
        at = torch.cat([leaf.reshape(len(leaf), -1) for leaf in params.values()], dim=1)
        slopes = torch.cat([slope[name].reshape(len(leaf), -1) for name, leaf in params.items()], dim=1)
        parts = torch.split(self._direction(at, slopes), [leaf[0].numel() for leaf in params.values()], dim=1)
        moved = {
            name: leaf - self.rate * part.reshape(leaf.shape)
            for part, (name, leaf) in zip(parts, params.items(), strict=True)
        }
        return moved, state

    def _direction(self, at: Float[Tensor, "m p"], slopes: Float[Tensor, "m p"]) -> Float[Tensor, "m p"]:
        m = len(at)
        if m == 1:
            return slopes
        apart = (at[:, None] - at).square().sum(-1)
        upper = torch.triu_indices(m, m, 1, device=at.device)
        ordered = apart[upper[0], upper[1]].sort().values
        width = (ordered[len(ordered) // 2] / math.log(m)).clamp(min=1e-12)
        k = torch.exp(-apart / width)
        # Σⱼ ∇k of θⱼ = 2 / h · Σⱼ k (θᵢ - θⱼ)
        away = 2 / width * (k.sum(1, keepdim=True) * at - k @ at)
        return (k @ slopes - self.repulsion * away) / m
