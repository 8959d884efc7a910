"""A convex problem as the head of a learned embedding: a support vector machine, or ridge regression."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored
from quickstudy.core.precision import in_own_precision
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Rate
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.metric.ridge import ridge
from quickstudy.methods.metric.svm import multiclass_svm

__all__ = ["Machine", "MetaOptNet"]


class Machine(NamedTuple):
    """What the head learns of a task."""

    weight: Float[Tensor, "d k"]
    present: Bool[Tensor, " k"]
    statistics: Statistics


class MetaOptNet(QueryScored):
    """Fit a multi-class support vector machine to the support's embeddings (Lee et al. 2019, "MetaOptNet-SVM").

    Meta-learned: the embedding net and the scale of the logits.
    Adapts by: solving the head's convex problem to its end; the meta-gradient is that of the solution.
    Scored by: cross-entropy of the scaled products of query and class weights (equation 12).

    With head="ridge" it is MetaOptNet-RR, ridge regression to the one-hot classes. R2-D2 differs from it in an
    intercept and a learned penalty.

    Args:
        net: The embedding.
        head: The convex problem: a support vector machine ("svm") or "ridge" regression.
        bound: C of the machine, what one misplaced example may weigh at most.
        penalty: λ of the regression, on squared weights; 50 as in the authors' code.
        scale: Where the factor of the logits starts.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        head: Literal["svm", "ridge"] = "svm",
        bound: Rate = 0.1,
        penalty: Rate = 50.0,
        scale: Rate = 1.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.head, self.bound, self.penalty = head, bound, penalty
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, support: Examples, *noise: Tensor) -> Machine:
        z, statistics = apply(self.net, None, support.x, mask=support.mask)
        z = z * support.mask[:, None]
        member = (support.y != 0) & support.mask[:, None]
        present = member.any(0)
        if self.head == "ridge":
            return Machine(ridge(z, member.to(z.dtype), self.penalty), present, statistics)
        counted = support.mask[:, None] & present
        with in_own_precision(z):
            alpha = multiclass_svm(z @ z.T, member.to(z.dtype), counted, self.bound)
            return Machine(z.T @ alpha, present, statistics)

    def predict(self, learner: Machine, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        with in_own_precision(z):
            said = self.log_scale.exp() * (z @ learner.weight)
        # A class without support has no weights and is never predicted.
        return Categorical.among(learner.present, said)
