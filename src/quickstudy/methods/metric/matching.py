"""Matching networks."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Rate, Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.metric.context import QueryContext, SupportContext
from quickstudy.methods.metric.protonet import cosines
from quickstudy.nets.net import width_of

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

    Meta-learned: the embedding net, the scale of the cosines, and the context LSTMs if asked for.
    Adapts by: embedding the support; nothing else.
    Scored by: -log p, where p(class) = Σ a(x, xᵢ) over the support xᵢ of that class, and a is a softmax of scaled
    cosines over the whole support (equations 1 and 2).

    Args:
        net: The embedding.
        scale: Where the factor of the cosines starts. The paper has none: a softmax of plain cosines is almost flat.
        context: Whether embeddings are those of each example alone ("none"), or in view of the whole support ("full",
            the paper's full-context embeddings). Queries never see each other.
        reads: How many times a query's LSTM reads the support; for context="full".
    """

    support_context: SupportContext | None
    query_context: QueryContext | None

    def __init__(
        self, net: nn.Module, *, scale: Rate = 10.0, context: Literal["none", "full"] = "none", reads: Size = 5
    ) -> None:
        super().__init__()
        self.net = net
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        full = context == "full"
        self.support_context = SupportContext(width_of(net)) if full else None
        self.query_context = QueryContext(width_of(net), reads) if full else None

    def adapt(self, support: Examples, *noise: Tensor) -> Matches:
        z, statistics = apply(self.net, None, support.x, mask=support.mask)
        if self.support_context is not None:
            z = self.support_context(z, support.mask)
        return Matches(z, (support.y != 0) & support.mask[:, None], statistics)

    def predict(self, learner: Matches, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        if self.query_context is not None:
            z = self.query_context(z, learner.keys, learner.member.any(-1))
        closeness = self.log_scale.exp() * cosines(z, learner.keys)
        votes = torch.where(learner.member, closeness[:, :, None], NEVER).logsumexp(1)
        # A class without support gets no vote.
        return Categorical.among(learner.member.any(0), votes)
