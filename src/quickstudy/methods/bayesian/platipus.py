"""PLATIPUS: a distribution of starts for MAML, of which each draw steps its own way."""

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
from quickstudy.inner import SGD, Gradient, LearnedRates, Rule, descend
from quickstudy.inner.rules import Params
from quickstudy.methods.bayesian import members
from quickstudy.methods.bayesian.members import Members, Spread
from quickstudy.methods.gradient.body_and_head import given, kept, linear_head
from quickstudy.nets.net import weights_of, width_of

__all__ = ["PLATIPUS"]

Weight = Annotated[float, Field(ge=0)]


class PLATIPUS(MetaLearner):
    """Draw starts from a learned distribution, and adapt each by gradient steps (Finn et al. 2018, "PLATIPUS").

    Meta-learned: a mean start, its standard deviations (two sets, before and after the query is seen), two step sizes
    of the mean, what the rule learns; of real values also their noise.
    Adapts by: one step of the mean start down the support's loss, `samples` draws around it (algorithm 2), and `steps`
    steps of each down the support's loss.
    Scored by: the query's loss from starts drawn around a mean that stepped down the query's own loss, + KL of that
    distribution from the one that `adapt` draws from, by the number of queries (algorithm 1).

    Args:
        net: The body; a linear head is put on its features.
        outputs: Ways, or the number of real values to predict.
        steps: Inner steps of each draw.
        rule: How a slope becomes a step of a draw.
        rate: Where the step sizes of the mean start.
        spread: Where standard deviations of weights start.
        samples: Draws: members of the prediction.
        training_samples: Draws that the loss is a mean over.
        divergence: Weight of the divergence. 1 is the bound; a tempered one is common where weights are many.
        gradient: How adapted weights depend on where they start.
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
        rate: Rate = 0.01,
        spread: Rate = 0.02,
        samples: Size = 10,
        training_samples: Size = 1,
        divergence: Weight = 0.1,
        gradient: Gradient = "exact",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.head = linear_head(width_of(net), outputs)
        start = self._mean()
        widths = {name: torch.full_like(leaf.detach(), math.log(spread)) for name, leaf in start.items()}
        self.prior_std = kept(widths)
        self.posterior_std = kept({name: leaf.clone() for name, leaf in widths.items()})
        self.log_rates = kept({"prior": torch.tensor(math.log(rate)), "posterior": torch.tensor(math.log(rate))})
        self.register_parameter("log_deviation", members.log_deviation(likelihood))
        self.rates = kept(rule.learned(start))
        self.steps, self.rule, self.gradient = steps, rule, gradient
        self.samples, self.training_samples = samples, training_samples
        self.divergence = divergence
        self.likelihood = likelihood
        self.estimated = rule.estimated
        self.noise_size = max(samples, training_samples) * members.size(start)
        self.training_noise_size = training_samples * members.size(start)

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        support, query = episode
        prior = Spread(self._stepped("prior", support), given(self.prior_std))
        posterior = Spread(self._stepped("posterior", query), given(self.posterior_std))
        drawn = self._adapted(posterior, support, self.steps, self.training_samples, *noise)
        nll = members.query_nll(self.predict(drawn, query.x), query)
        count = query.mask.sum().clamp(min=1)
        return nll + self.divergence * members.divergence(posterior, prior) / count

    def adapt(self, support: Examples, *noise: Tensor) -> Members:
        prior = Spread(self._stepped("prior", support), given(self.prior_std))
        return self._adapted(prior, support, self.steps, self.samples, *noise)

    def predict(self, learner: Members, x: Shaped[Tensor, "n *item"]) -> Mixture:
        return members.predict(self.net, learner, x, self.likelihood, self.log_deviation)

    def _stepped(self, which: str, examples: Examples) -> Params:
        """The mean start after one step down the loss of these examples."""
        mean = self._mean()
        return descend(
            members.support_loss_of(self.net, self.likelihood),
            mean,
            (examples,),
            rule=LearnedRates(),
            steps=1,
            gradient=self.gradient,
            learned=dict.fromkeys(mean, given(self.log_rates)[which].exp()),
        )

    def _adapted(self, starts: Spread, support: Examples, steps: int, count: int, *noise: Tensor) -> Members:
        drawn = noise[0] if noise else self.head.weight.new_zeros(self.noise_size)
        loss = members.support_loss_of(self.net, self.likelihood)

        def end(row: Params) -> Params:
            start = starts.draw(row)
            return descend(
                loss,
                start,
                (support,),
                rule=self.rule,
                steps=steps,
                gradient=self.gradient,
                learned=given(self.rates),
            )

        ends = [end(row) for row in members.rows(drawn, starts.mean)[:count]]
        return members.settled(self.net, ends, support)

    def _mean(self) -> Params:
        return weights_of(net=self.net, head=self.head)
