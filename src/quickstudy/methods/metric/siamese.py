"""Siamese networks."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner
from quickstudy.core.precision import in_own_precision
from quickstudy.core.predictions import Categorical
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.nets.net import width_of

__all__ = ["Siamese", "Twins"]


class Twins(NamedTuple):
    """What a siamese network learns of a task: its support, embedded."""

    keys: Float[Tensor, "n d"]
    member: Bool[Tensor, "n k"]
    statistics: Statistics


class Siamese(MetaLearner):
    """Tell whether two inputs are of one class, and give a query that of its most alike support (Koch et al. 2015).

    Meta-learned: the embedding net, and the weights and the bias that make of |a - b| the logit of being alike.
    Adapts by: embedding the support; nothing else.
    Scored by: binary cross-entropy of p(alike) = σ(Σⱼ αⱼ|aⱼ - bⱼ| + β) over all pairs of a support and a query
    example. Pairs of one class and pairs of two weigh the same together, as in the paper's balanced sets of pairs.

    A class's logit is that of its most alike support example (the paper's argmax), and its probability that of being
    the match if exactly one class is: a softmax of these logits.

    Args:
        net: The embedding.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        features = width_of(net)
        self.alike = nn.Linear(features, 1)
        nn.init.constant_(self.alike.weight, -1 / features)  # the further apart, the less alike
        nn.init.ones_(self.alike.bias)

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        support, query = episode
        logits = self._logits(self.adapt(support), query.x)
        told = query.y.to(logits.dtype) @ support.y.to(logits.dtype).T
        counted = query.mask[:, None] & support.mask
        each = F.binary_cross_entropy_with_logits(logits, told, reduction="none").flatten()
        same, other = ((counted & (told == kind)).flatten() for kind in (1, 0))
        return (masked_mean(each, same) + masked_mean(each, other)) / 2

    def adapt(self, support: Examples, *noise: Tensor) -> Twins:
        z, statistics = apply(self.net, None, support.x, mask=support.mask)
        return Twins(z, (support.y != 0) & support.mask[:, None], statistics)

    def predict(self, learner: Twins, x: Shaped[Tensor, "n *item"]) -> Categorical:
        logits = self._logits(learner, x)
        # A class without support has none alike.
        return Categorical(torch.where(learner.member, logits[:, :, None], -torch.inf).amax(1))

    def _logits(self, learner: Twins, x: Shaped[Tensor, "q *item"]) -> Float[Tensor, "q n"]:
        """Of each query's being alike to each support example."""
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        with in_own_precision(z):
            logits: Tensor = self.alike((z[:, None] - learner.keys).abs())
        return logits.squeeze(-1)
