"""A task as functions known at some places: what neural processes make of supports, targets and outputs.

Real values are one function with that many values. Each class is a function of its own, 1 at its examples and 0 at
others', that the same weights are asked about; what they say is the class's logit. So one instance takes tasks of any
number of classes, and their names and order do not matter.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, Mixture
from quickstudy.core.shapes import Bool, Float, Tensor

__all__ = [
    "Scored",
    "as_functions",
    "deviation",
    "joined",
    "known",
    "mean_nll",
    "numbers_said",
    "said",
    "scored",
    "values_of",
]

Scored = Literal["all", "query"]
"""Which real values the training loss is about: those of support and query, or of the query alone."""


def values_of(kind: Likelihood, outputs: int) -> int:
    """How many values each function has at a place."""
    return outputs if kind == "gaussian" else 1


def numbers_said(kind: Likelihood, outputs: int) -> int:
    """How many numbers a net says of each function at a place: means and deviations, or a logit."""
    return 2 * outputs if kind == "gaussian" else 1


def as_functions(support: Examples, kind: Likelihood, dtype: torch.dtype) -> Float[Tensor, "c n v"]:
    """The values of each function at the support's places; 0 where an example is padding."""
    y = torch.where(support.mask[:, None], support.y.to(dtype), 0.0)
    return y[None] if kind == "gaussian" else y.T[..., None]


def known(support: Examples, kind: Likelihood) -> Bool[Tensor, " k"]:
    """Which outputs can be predicted: every real value, and the classes that have support."""
    if kind == "gaussian":
        return support.y.new_ones(support.y.shape[1], dtype=torch.bool)
    return ((support.y != 0) & support.mask[:, None]).any(0)


def deviation(numbers: Tensor, floor: float) -> Tensor:
    """The standard deviation that is said by any number: floor + (1 - floor) · softplus."""
    return floor + (1 - floor) * F.softplus(numbers)


def said(
    numbers: Float[Tensor, "*m c n s"], kind: Likelihood, present: Bool[Tensor, " k"], floor: float
) -> Categorical | Gaussian:
    """The prediction that a net's numbers mean."""
    if kind == "gaussian":
        mean, spread = numbers[..., 0, :, :].chunk(2, dim=-1)
        return Gaussian(mean, deviation(spread, floor))
    return Categorical.among(present, numbers[..., 0].transpose(-1, -2))


def joined(episode: Episode) -> Examples:
    """Support and query as one."""
    return Examples(*(torch.cat(both) for both in zip(*episode, strict=True)))


def scored(episode: Episode, kind: Likelihood, which: Scored) -> Examples:
    """What the training loss is about. Of classes always the query: the support's labels are given away."""
    return joined(episode) if kind == "gaussian" and which == "all" else episode.query


def mean_nll(prediction: Categorical | Gaussian | Mixture, targets: Examples) -> Float[Tensor, ""]:
    """The mean negative log-likelihood of the targets."""
    return masked_mean(prediction.nll(targets.y), targets.mask)
