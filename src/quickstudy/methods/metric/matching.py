"""Matching networks."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Rate
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor

__all__ = ["Matches", "MatchingNet"]

NEVER = -1e9
"""The closeness of an example of another class: e to it is 0, and unlike -inf its derivative is no NaN."""


class Matches(NamedTuple):
    """What a matching network learns of a task: its support, embedded."""

    keys: Float[Tensor, "n d"]
    member: Bool[Tensor, "n k"]
    statistics: Statistics


class MatchingNet(QueryScored):
    """Vote with the labels of the support, weighted by closeness in a learned space (Vinyals et al. 2016).

    Meta-learned: the embedding net and the scale of the cosines.
    Adapts by: embedding the support; nothing else.
    Scored by: -log p, where p(class) = Σ a(x, xᵢ) over the support xᵢ of that class, and a is a softmax of scaled
    cosines over the whole support (equations 1 and 2). Embeddings are those of each example alone: the paper's without
    full-context embeddings.

    Args:
        net: The embedding.
        scale: Where the factor of the cosines starts. The paper has none: a softmax of plain cosines is almost flat.
    """

    def __init__(self, net: nn.Module, *, scale: Rate = 10.0) -> None:
        super().__init__()
        self.net = net
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, support: Examples, *noise: Tensor) -> Matches:
        z, statistics = apply(self.net, None, support.x, mask=support.mask)
        return Matches(F.normalize(z, dim=-1), (support.y != 0) & support.mask[:, None], statistics)

    def predict(self, learner: Matches, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        closeness = self.log_scale.exp() * (F.normalize(z, dim=-1) @ learner.keys.T)
        votes = torch.where(learner.member, closeness[:, :, None], NEVER).logsumexp(1)
        # A class without support gets no vote.
        return Categorical(torch.where(learner.member.any(0), votes, -torch.inf))
