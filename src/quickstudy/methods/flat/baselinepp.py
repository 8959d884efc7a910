"""A cosine classifier, trained conventionally and fine-tuned on the support."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics
from quickstudy.core.episode import Examples, masked_mean
from quickstudy.core.precision import in_own_precision
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Choice, Count, Rate
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.inner import Adam, Rule, descend
from quickstudy.inner.rules import Params, refuse_learned
from quickstudy.methods.flat.pretrained import Pretrained
from quickstudy.methods.metric.protonet import class_means

__all__ = ["BaselinePlusPlus", "Directions"]


class Directions(NamedTuple):
    """What a cosine classifier learns of a task."""

    weight: Float[Tensor, "k d"]
    present: Bool[Tensor, " k"]
    statistics: Statistics


class BaselinePlusPlus(Pretrained):
    """Fine-tune a classifier by cosines on the features of a net trained with one (Chen et al. 2019, "Baseline++").

    Learned beforehand: the net, by classification over all training classes by scaled cosines.
    Adapts by: gradient steps on one direction a class, the net being frozen.
    Scored by: nothing of a task; training never sees an episode.

    Directions start at the means of their class's support features, where the paper draws them at random.

    Args:
        net: The features.
        pool_outputs: Classes of the flat training pool.
        scale: Multiplies the cosines.
        steps: Gradient steps on the support.
        rule: How a slope becomes a step. It can learn nothing, for training never steps.

    Raises:
        SettingsError: the rule meta-learns something.
    """

    def __init__(
        self,
        net: nn.Module,
        pool_outputs: int,
        *,
        scale: Rate = 10.0,
        steps: Count = 100,
        rule: Annotated[Rule, Choice("rule")] = Adam(rate=0.01),
    ) -> None:
        super().__init__(net, pool_outputs)
        self.head.register_parameter("bias", None)  # directions alone
        self.scale, self.steps, self.rule = scale, steps, rule
        refuse_learned(rule, {"weight": self.head.weight}, "Baseline++'s conventional training never steps by it")

    def classify(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return self._cosines(F.normalize(features, dim=-1), self.head.weight)

    def adapt(self, support: Examples, *noise: Tensor) -> Directions:
        z, statistics = self.unit(support.x, mask=support.mask)
        means, present = class_means(z, support)

        def loss(params: Params, z: Tensor, support: Examples, present: Tensor) -> Tensor:
            return masked_mean(self._said(z, params["weight"], present).nll(support.y), support.mask)

        data = (z, support, present)
        end = descend(loss, {"weight": means}, data, rule=self.rule, steps=self.steps, gradient="first-order")
        return Directions(end["weight"], present, statistics)

    def predict(self, learner: Directions, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = self.unit(x, statistics=learner.statistics)
        return self._said(z, learner.weight, learner.present)

    def _said(self, z: Float[Tensor, "n d"], weight: Float[Tensor, "k d"], present: Bool[Tensor, " k"]) -> Categorical:
        # A class without support has no direction and is never predicted.
        return Categorical.among(present, self._cosines(z, weight))

    def _cosines(self, z: Float[Tensor, "n d"], weight: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
        with in_own_precision(z):
            return self.scale * (z @ F.normalize(weight, dim=-1).T)
