"""Bayesian MAML: several learners that start apart, and stay apart where the support does not say otherwise."""

from __future__ import annotations

import copy
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from quickstudy.core import tree
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Likelihood, Mixture
from quickstudy.core.settings import Count, Rate, Size
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import Gradient, descend
from quickstudy.inner.rules import Params
from quickstudy.methods.bayesian import members
from quickstudy.methods.bayesian.members import Members
from quickstudy.methods.bayesian.svgd import SVGD
from quickstudy.methods.gradient.body_and_head import linear_head
from quickstudy.nets.net import weights_of, width_of

__all__ = ["BMAML"]

Weight = Annotated[float, Field(ge=0)]


class BMAML(MetaLearner):
    """Adapt several particles by Stein variational gradient descent (Yoon et al. 2018, "BMAML").

    Meta-learned: the weights that each particle starts from.
    Adapts by: `steps` joint steps of all particles down the support's mean loss, keeping apart (equation 1).
    Scored by: how far the particles are from where `lead` more steps on support and query together would take them,
    those taken as constants: the chaser loss Σ ‖Θₙ - stop-gradient(Θₙ₊ₛ)‖² (algorithm 3, equation 9).

    Predictions are mixtures of the particles. Every particle is a whole net; the paper shares the body in its image
    experiments. A particle's noise is not among its weights: the chaser takes it as given, `loss="query"` learns it.

    Args:
        net: The body of the first particle; the others are copies of it, initialised anew, each with its own head.
        outputs: Ways, or the number of real values to predict.
        particles: How many. The time is as many times MAML's.
        steps: Inner steps (n in the paper).
        lead: Steps by which the chaser's target is ahead (s in the paper).
        rate: Size of the joint steps. Each particle's own slope counts for about the inverse of their number.
        repulsion: Weight of keeping apart; 1 / (number of support examples) is the paper's, for losses here are means.
        loss: What training minimises: the "chaser" loss, or the "query"'s negative log-likelihood under the mixture.
        deviation: The standard deviation of real values around what each particle says; where it starts, if learned.
        gradient: How adapted particles depend on where they start.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values, which step by squared error.
    """

    tags = Tags(any_ways=False, relabels=False, regression=True)

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        particles: Size = 5,
        steps: Count = 5,
        lead: Size = 5,
        rate: Rate = 0.4,
        repulsion: Weight = 0.1,
        loss: Literal["chaser", "query"] = "chaser",
        deviation: Rate = 0.5**0.5,
        gradient: Gradient = "exact",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.others = nn.ModuleList(_anew(net) for _ in range(particles - 1))
        self.heads = nn.ModuleList(linear_head(width_of(net), outputs) for _ in range(particles))
        self.steps, self.lead, self.gradient = steps, lead, gradient
        self.rule = SVGD(rate=rate, repulsion=repulsion)
        self.loss = loss
        log_deviation = torch.tensor(deviation).log()
        self.log_deviation: Tensor
        if loss == "query" and likelihood == "gaussian":
            self.log_deviation = nn.Parameter(log_deviation)
        else:
            self.register_buffer("log_deviation", log_deviation, persistent=False)
        self.likelihood = likelihood
        self.estimated = "what is chased counts as a constant" if loss == "chaser" else ""

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        end = self._stepped(self._start(), episode.support, self.steps)
        if self.loss == "query":
            said = self.predict(self._settled(end, episode.support), episode.query.x)
            return masked_mean(said.nll(episode.query.y), episode.query.mask)
        both = Examples(*(torch.cat(each) for each in zip(*episode, strict=True)))
        ahead = self._stepped(end, both, self.lead)
        return torch.stack([(end[name] - ahead[name].detach()).square().sum() for name in end]).sum()

    def adapt(self, support: Examples, *noise: Tensor) -> Members:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Members:
        """The learner after `steps` steps; 0 is the particles as they start."""
        return self._settled(self._stepped(self._start(), support, steps), support)

    def predict(self, learner: Members, x: Shaped[Tensor, "n *item"]) -> Mixture:
        return members.predict(self.net, learner, x, self.likelihood, self.log_deviation)

    def _start(self) -> Params:
        """The weights of all particles, with a leading axis of them."""
        nets = [self.net, *self.others]
        return tree.stack([weights_of(net=net, head=head) for net, head in zip(nets, self.heads, strict=True)])

    def _stepped(self, start: Params, examples: Examples, steps: int) -> Params:
        together = partial(_together, net=self.net, kind=self.likelihood)
        return descend(together, start, (examples,), rule=self.rule, steps=steps, gradient=self.gradient)

    def _settled(self, particles: Params, support: Examples) -> Members:
        return members.settled(self.net, tree.unstack(particles), support)


def _together(particles: Params, examples: Examples, *, net: nn.Module, kind: Likelihood) -> Float[Tensor, ""]:
    """The sum of the particles' losses, whose slope is each one's own."""
    loss = members.support_loss_of(net, kind)
    return torch.stack([loss(particle, examples) for particle in tree.unstack(particles)]).sum()


def _anew(net: nn.Module) -> nn.Module:
    """A copy whose layers are initialised again."""
    made = copy.deepcopy(net)
    for module in made.modules():
        if reset := getattr(module, "reset_parameters", None):
            reset()
    return made
