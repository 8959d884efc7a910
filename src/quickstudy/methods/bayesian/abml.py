"""Amortised Bayesian meta-learning: variational inference of a task's weights, from a learned prior."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Likelihood, Mixture
from quickstudy.core.settings import Choice, Count, Rate, Size
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import SGD, Gradient, Rule, descend
from quickstudy.inner.rules import Params
from quickstudy.methods.bayesian import members
from quickstudy.methods.bayesian.members import Members, Spread
from quickstudy.methods.gradient.body_and_head import given, kept, linear_head
from quickstudy.nets.net import weights_of, width_of

__all__ = ["ABML"]

Weight = Annotated[float, Field(ge=0)]


class ABML(MetaLearner):
    """Step down the variational bound of a task from a learned prior of the weights (Ravi and Beatson 2019, "ABML").

    Meta-learned: the prior of every weight, a mean and a standard deviation; of real values also their noise.
    Adapts by: `steps` steps of means and deviations, which start from the prior, down the mean loss of the support at
    `inner_samples` draws + KL from the prior by the number of examples (equation 4); then `samples` draws.
    Scored by: the same bound for the query, at the adapted distribution (equation 5). The hyper-prior, which keeps
    means near 0 and deviations small, is left to weight decay.

    All steps of a task take the same draws of noise, so that they go down one function; the paper draws anew, by
    Flipout. With `steps=0` it is an ensemble of draws from the prior.

    Args:
        net: The body; a linear head is put on its features.
        outputs: Ways, or the number of real values to predict.
        steps: Inner steps.
        rule: How a slope becomes a step, of means and of logarithms of deviations.
        spread: Where standard deviations of weights start. Inner steps are stable while rate · divergence /
            (deviation² · number of examples) stays below 2.
        samples: Draws from the adapted distribution: members of the prediction.
        training_samples: Draws that the loss is a mean over.
        inner_samples: Draws that the inner loss is a mean over.
        divergence: Weight of the divergences, inner and outer. 1 is the bound; a tempered one is common where
            weights are many.
        gradient: How the adapted distribution depends on the prior.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values, which step by squared error.
    """

    log_deviation: nn.Parameter | None
    tags = Tags(any_ways=False, relabels=False, regression=True)

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        steps: Count = 5,
        rule: Annotated[Rule, Choice("rule")] = SGD(rate=0.05),
        spread: Rate = 0.02,
        samples: Size = 5,
        training_samples: Size = 1,
        inner_samples: Size = 1,
        divergence: Weight = 0.001,
        gradient: Gradient = "exact",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.head = linear_head(width_of(net), outputs)
        start = self._mean()
        self.log_std = kept({name: torch.full_like(leaf.detach(), math.log(spread)) for name, leaf in start.items()})
        self.register_parameter("log_deviation", members.log_deviation(likelihood))
        self.rates = kept(rule.learned(_stepping(self._prior())))
        self.steps, self.rule, self.gradient = steps, rule, gradient
        self.samples, self.training_samples, self.inner_samples = samples, training_samples, inner_samples
        self.divergence = divergence
        self.likelihood = likelihood
        self.estimated = rule.estimated
        self.noise_size = (inner_samples + max(samples, training_samples)) * members.size(start)
        self.training_noise_size = (inner_samples + training_samples) * members.size(start)

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        support, query = episode
        prior = self._prior()
        found, draws = self._inferred(support, self.steps, *noise)
        drawn = members.settled(self.net, [found.draw(row) for row in draws[: self.training_samples]], support)
        nll = members.query_nll(self.predict(drawn, query.x), query)
        count = query.mask.sum().clamp(min=1)
        return nll + self.divergence * members.divergence(found, prior) / count

    def adapt(self, support: Examples, *noise: Tensor) -> Members:
        return self.adapt_for(support, self.steps, *noise)

    def adapt_for(self, support: Examples, steps: int, *noise: Tensor) -> Members:
        """The learner after `steps` steps; 0 draws from the prior. Without noise, all members are the mean."""
        found, draws = self._inferred(support, steps, *noise)
        return members.settled(self.net, [found.draw(row) for row in draws[: self.samples]], support)

    def predict(self, learner: Members, x: Shaped[Tensor, "n *item"]) -> Mixture:
        return members.predict(self.net, learner, x, self.likelihood, self.log_deviation)

    def _inferred(self, support: Examples, steps: int, *noise: Tensor) -> tuple[Spread, list[Params]]:
        """The adapted distribution, and the draws left for its members."""
        prior = self._prior()
        drawn = noise[0] if noise else self.head.weight.new_zeros(self.noise_size)
        draws = members.rows(drawn, prior.mean)
        end = descend(
            self._bound,
            _stepping(prior),
            (prior, draws[: self.inner_samples], support),
            rule=self.rule,
            steps=steps,
            gradient=self.gradient,
            learned=given(self.rates),
        )
        return _spread(end), draws[self.inner_samples :]

    def _bound(self, params: Params, prior: Spread, draws: list[Params], support: Examples) -> Float[Tensor, ""]:
        found = _spread(params)
        loss = members.support_loss_of(self.net, self.likelihood)
        nll = torch.stack([loss(found.draw(row), support) for row in draws]).mean()
        return nll + self.divergence * members.divergence(found, prior) / support.mask.sum().clamp(min=1)

    def _mean(self) -> Params:
        return weights_of(net=self.net, head=self.head)

    def _prior(self) -> Spread:
        return Spread(self._mean(), given(self.log_std))


def _stepping(spread: Spread) -> Params:
    """A distribution as one dictionary, which a rule steps."""
    parts = {"mean": spread.mean, "std": spread.log_std}
    return {f"{part}:{name}": leaf for part, leaves in parts.items() for name, leaf in leaves.items()}


def _spread(params: Params) -> Spread:
    """What `_stepping` made one dictionary of."""
    parts: dict[str, Params] = {"mean": {}, "std": {}}
    for key, leaf in params.items():
        part, _, name = key.partition(":")
        parts[part][name] = leaf
    return Spread(parts["mean"], parts["std"])
