"""Model-agnostic meta-learning, first-order MAML and ANIL."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples, masked_mean
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.settings import Choice, Count
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import SGD, Gradient, Rule, unroll

__all__ = ["MAML", "Adapted"]


class Adapted(NamedTuple):
    """What MAML learns of a task: the weights that changed, and the support's normalisation statistics."""

    weights: dict[str, Tensor]
    statistics: Statistics


class MAML(QueryScored):
    """Learn a start from which a few gradient steps suffice (Finn et al. 2017).

    Meta-learned: the initial weights (and the step sizes, where the rule learns them).
    Adapts by: `steps` steps down the support's mean loss (the paper's line 6).
    Scored by: the query's negative log-likelihood after the last step (line 10).

    FOMAML is gradient="first-order"; ANIL (Raghu et al. 2020) is adapts="head"; Meta-SGD (Li et al. 2017) is
    rule=LearnedRates().

    Args:
        net: The body; a linear head is put on its features.
        outputs: Ways, or the number of real values to predict.
        steps: Inner steps. Evaluation may ask for more.
        rule: How a slope becomes a step. The paper's rates are for a summed loss: 0.4 there is 2.0 for five-way
            one-shot here; 0.4 works as well.
        gradient: How the adapted weights depend on the initial ones.
        adapts: Which weights change: all of them, or only the head.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.
    """

    tags = Tags(
        any_ways=False,
        relabels=False,  # every class slot has a start of its own
        regression=True,
    )

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        steps: Count = 5,
        rule: Annotated[Rule, Choice("rule")] = SGD(rate=0.4),
        gradient: Gradient = "exact",
        adapts: Literal["all", "head"] = "all",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.head = nn.Linear(int(net.features), outputs)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.steps = steps
        self.rule = rule
        self.gradient = gradient
        self.adapts = adapts
        self.likelihood = likelihood
        self.rates = nn.ParameterDict(
            {name.replace(".", "/"): rate for name, rate in rule.learned(self._start()).items()}
        )

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Adapted:
        """The learner after `steps` steps; 0 is the initial one."""
        start = self._start()
        learned = {name.replace("/", "."): rate for name, rate in self.rates.items()}
        how = {"rule": self.rule, "steps": steps, "gradient": self.gradient, "learned": learned}
        if self.adapts == "head":  # the body is the same at every step: one pass
            features, statistics = self._features({}, support)
            return Adapted(unroll(self._head_loss, start, (features, support), **how)[-1], statistics)
        weights = unroll(self._loss, start, (support,), **how)[-1]
        return Adapted(weights, self._features(weights, support)[1])

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        features, _ = apply(self.net, _body(learner.weights), x, statistics=learner.statistics)
        return self._read(learner.weights, features)

    def _start(self) -> dict[str, Tensor]:
        """The weights that adapt, as they start."""
        kept = {f"head.{name}": weight for name, weight in self.head.named_parameters()}
        if self.adapts == "all":
            kept |= {f"net.{name}": weight for name, weight in self.net.named_parameters()}
        return kept

    def _features(self, weights: dict[str, Tensor], support: Examples) -> tuple[Tensor, Statistics]:
        return apply(self.net, _body(weights), support.x, mask=support.mask)

    def _read(self, weights: dict[str, Tensor], features: Float[Tensor, "n d"]) -> Categorical | Gaussian:
        out = torch.nn.functional.linear(features, weights["head.weight"], weights["head.bias"])
        return likelihood(self.likelihood, out)

    def _loss(self, weights: dict[str, Tensor], support: Examples) -> Float[Tensor, ""]:
        return self._head_loss(weights, self._features(weights, support)[0], support)

    def _head_loss(
        self, weights: dict[str, Tensor], features: Float[Tensor, "n d"], support: Examples
    ) -> Float[Tensor, ""]:
        return masked_mean(self._read(weights, features).nll(support.y), support.mask)


def _body(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("net."): weight for name, weight in weights.items() if name.startswith("net.")}
