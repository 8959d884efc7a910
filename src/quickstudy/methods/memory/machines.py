"""Kernel machines in closed form: how alike rows are, and what ridge regression says of each row without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.methods.memory.against_rest import TOGETHER

__all__ = ["REACH", "Fitted", "additive", "fitted", "linear", "wide"]

REACH = 0.25
"""Ranks that far apart are alike to e^-½."""


class Fitted(NamedTuple):
    """Machines of each kernel and penalty, `s` together, for each target."""

    weights: Float[Tensor, "k s n"]
    """Of each training row; what a machine says of another is their sum, each times how alike the two are."""
    scores: Float[Tensor, "k n s"]
    """What each machine says of a training row when it is left out; 0 for rows that do not count."""


def linear(x: Float[Tensor, "m c"], known: Float[Tensor, "n c"], weight: Float[Tensor, " c"]) -> Float[Tensor, "m n"]:
    """The inner product, each column weighted."""
    return (x * weight) @ known.T


def additive(
    ranks: Float[Tensor, "m c"], known: Float[Tensor, "n c"], weights: Float[Tensor, "w c"]
) -> Float[Tensor, "w m n"]:
    """Sums of one narrow kernel a column, weighted in several ways: of ranks, so that each fits an additive model."""
    reach = REACH * math.sqrt(2)
    blocks = (torch.split(each, TOGETHER, 1) for each in (ranks / reach, known / reach, weights))
    found = torch.zeros_like(ranks[:, :1] @ known[:, :1].T)[..., None]
    for asked, there, part in zip(*blocks, strict=True):
        found = found + (asked[:, None] - there).square().neg().exp() @ part.T
    return found.movedim(-1, 0)


def wide(x: Float[Tensor, "m c"], known: Float[Tensor, "n c"], weight: Float[Tensor, " c"]) -> Float[Tensor, "m n"]:
    """One normal kernel of all columns, of which each counts by its weight: e^-½ where weighted squares add up to 1."""
    far = x.square() @ weight[:, None] + known.square() @ weight - 2 * linear(x, known, weight)
    return torch.exp(-far.clamp(min=0) / 2)


def fitted(
    alike: Float[Tensor, "a n n"], mask: Bool[Tensor, " n"], penalties: Sequence[float], target: Float[Tensor, "k n"]
) -> Fitted:
    """Ridge regression by each kernel, with each penalty, and what it says of each row without it.

    With G = K + λI, weights are G⁻¹y, and the score of row i without it is yᵢ - (G⁻¹y)ᵢ / (G⁻¹)ᵢᵢ (Rasmussen and
    Williams 2006, equation 5.12).
    """
    both = mask[:, None] & mask
    penalty = torch.tensor(penalties, dtype=alike.dtype, device=alike.device)[:, None, None]
    unit = torch.eye(len(mask), dtype=alike.dtype, device=alike.device)
    inverse = torch.linalg.inv((torch.where(both, alike, 0.0)[:, None] + penalty * unit).flatten(0, 1))
    weights = torch.einsum("sij,kj->ksi", inverse, target)
    own = inverse.diagonal(dim1=-2, dim2=-1)
    scores = torch.where(mask, target[:, None] - weights / own, 0.0)
    return Fitted(weights, scores.transpose(-1, -2))
