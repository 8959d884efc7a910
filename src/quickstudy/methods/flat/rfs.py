"""Logistic regression on the features of a conventionally trained net."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics
from quickstudy.core.episode import Examples
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Count, Rate
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.flat.pretrained import Pretrained

__all__ = ["RFS", "Regression", "logistic_regression"]


class Regression(NamedTuple):
    """What a logistic regression learns of a task."""

    weight: Float[Tensor, "d k"]
    present: Bool[Tensor, " k"]
    statistics: Statistics


class RFS(Pretrained):
    """Logistic regression on normalised features of a net trained as a classifier (Tian et al. 2020, "RFS-simple").

    Learned beforehand: the net, by ordinary classification over all training classes.
    Adapts by: L2-penalised logistic regression from the support's features, of length 1, to its classes.
    Scored by: nothing of a task; training never sees an episode.

    The intercept is penalised as the weights are. The paper's self-distillation is not part of it.

    Args:
        net: The features.
        pool_outputs: Classes of the flat training pool.
        cost: What the support's summed cross-entropy counts for against half the squared weights (C elsewhere).
        steps: Steps of accelerated gradient descent; the step size and the momentum follow from the problem.
    """

    def __init__(self, net: nn.Module, pool_outputs: int, *, cost: Rate = 1.0, steps: Count = 100) -> None:
        super().__init__(net, pool_outputs)
        self.cost, self.steps = cost, steps

    def adapt(self, support: Examples, *noise: Tensor) -> Regression:
        z, statistics = self.unit(support.x, mask=support.mask)
        member = (support.y != 0) & support.mask[:, None]
        present = member.any(0)
        with torch.autocast(z.device.type, enabled=False):
            weight = logistic_regression(_with_one(z), member, present, self.cost, self.steps)
        return Regression(weight, present, statistics)

    def predict(self, learner: Regression, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = self.unit(x, statistics=learner.statistics)
        with torch.autocast(z.device.type, enabled=False):
            said = _with_one(z) @ learner.weight
        # A class without support was fitted to nothing and is never predicted.
        return Categorical(torch.where(learner.present, said, -torch.inf))


def logistic_regression(
    x: Float[Tensor, "n d"], member: Bool[Tensor, "n k"], present: Bool[Tensor, " k"], cost: float, steps: int
) -> Float[Tensor, "d k"]:
    """The minimum over W of ½‖W‖² + cost · Σ cross-entropy of softmax(xW), by Nesterov's method.

    The objective is curved by 1 at least and by 1 + cost/2 · Σ‖x‖² at most; steps shrink the error by a factor of
    1 - √(least/most) each.

    Args:
        x: The examples.
        member: Their classes, one-hot; a row without one does not count.
        present: The classes that there are.
        cost: Of the cross-entropy.
        steps: How many.
    """
    counted = member.any(-1, keepdim=True).to(x.dtype)
    x, y = x * counted, member.to(x.dtype)
    most = 1 + cost / 2 * x.square().sum()
    root = most.sqrt()
    momentum = (root - 1) / (root + 1)
    weight = ahead = x.new_zeros(x.shape[-1], y.shape[-1])
    for _ in range(steps):
        p = torch.where(present, x @ ahead, -torch.inf).softmax(-1) * counted
        new = ahead - (ahead + cost * x.T @ (p - y)) / most
        ahead = new + momentum * (new - weight)
        weight = new
    return weight


def _with_one(z: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
    return torch.cat([z, z.new_ones(len(z), 1)], dim=1)
