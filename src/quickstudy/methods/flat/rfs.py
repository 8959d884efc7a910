"""Logistic regression on the features of a conventionally trained net."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner
from quickstudy.core.precision import in_own_precision
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Count, Fraction, Rate
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.flat.pretrained import Pretrained
from quickstudy.methods.flat.teacher import Teacher, divergence

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

    With `distill` it is RFS-distill: a net that starts afresh and is taught by a trained one, the teacher, as well as
    by the labels. The teacher is the net and head of the run that training.start names; the student of one run may be
    the teacher of another. The intercept is penalised as the weights are.

    Args:
        net: The features.
        pool_outputs: Classes of the flat training pool.
        cost: What the support's summed cross-entropy counts for against half the squared weights (C elsewhere).
        steps: Steps of accelerated gradient descent; the step size and the momentum follow from the problem.
        distill: Share of the divergence from the teacher in the loss, the labels having the rest. The paper halves.
        softness: Divides the logits of both in that divergence, which is multiplied by its square; 4 as in the
            authors' code.
    """

    teacher: Teacher | None

    def __init__(
        self,
        net: nn.Module,
        pool_outputs: int,
        *,
        cost: Rate = 1.0,
        steps: Count = 100,
        distill: Fraction = 0.0,
        softness: Rate = 4.0,
    ) -> None:
        super().__init__(net, pool_outputs)
        self.cost, self.steps, self.distill, self.softness = cost, steps, distill, softness
        self.teacher = Teacher(net, self.head) if distill else None
        if distill:
            self.needs_start = "distillation needs a trained teacher. Train rfs first, and name its run in --start."

    def start_from(self, trained: MetaLearner) -> None:
        """Begin with the net of a trained method, or, to be taught, with its net and head as the teacher."""
        if self.teacher is None:
            super().start_from(trained)
        else:
            self.teacher.become(trained)

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        if self.teacher is None:
            return super().meta_loss(episode)
        batch = episode.query
        features, _ = apply(self.net, None, batch.x, mask=batch.mask)
        said, told = self.classify(features), self.teacher.classify(batch.x, batch.mask)
        each = (1 - self.distill) * Categorical(said).nll(batch.y) + self.distill * divergence(
            told, said, self.softness
        )
        return masked_mean(each, batch.mask)

    def adapt(self, support: Examples, *noise: Tensor) -> Regression:
        z, statistics = self.unit(support.x, mask=support.mask)
        member = (support.y != 0) & support.mask[:, None]
        present = member.any(0)
        with in_own_precision(z):
            weight = logistic_regression(_with_one(z), member, present, self.cost, self.steps)
        return Regression(weight, present, statistics)

    def predict(self, learner: Regression, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = self.unit(x, statistics=learner.statistics)
        with in_own_precision(z):
            said = _with_one(z) @ learner.weight
        # A class without support was fitted to nothing and is never predicted.
        return Categorical.among(learner.present, said)


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
