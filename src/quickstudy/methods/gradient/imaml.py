"""Implicit MAML: the meta-gradient of a minimum, however it was reached."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Choice, Count, Rate, Size
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import SGD, Rule
from quickstudy.inner.implicit import Descent, HessianFree, Solver, conjugate_gradient, hessian_product, proximal
from quickstudy.inner.rules import Params, refuse_learned
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import (
    Adapted,
    linear_head,
    loss_of_outputs,
    outputs_of,
    query_loss,
    settled,
    support_loss,
)
from quickstudy.nets.net import weights_of, width_of

__all__ = ["IMAML", "Residuals"]


class Residuals(NamedTuple):
    """How near a task's inner problem and linear system are to being solved; the meta-gradient is as good as these."""

    slope: Float[Tensor, ""]
    """The length of the penalised loss's gradient at the end, relative to that at the start."""
    system: Float[Tensor, ""]
    """‖b - Ax‖ / ‖b‖ of conjugate gradient, with b the query's slope."""


class IMAML(QueryScored):
    """Stay near the start, and differentiate the minimum rather than the steps to it (Rajeswaran et al. 2019).

    Meta-learned: the initial weights θ.
    Adapts by: `steps` steps towards the minimum of the support's mean loss plus strength/2 ‖φ - θ‖² (equation 4).
    Scored by: the query's negative log-likelihood at φ. Its meta-gradient is (I + H/λ)⁻¹ ∇query(φ), with H the Hessian
    of the support's loss, by conjugate gradient (lemma 1, algorithm 2).

    Memory does not grow with the steps. The meta-gradient is that of the true minimum; `residuals` says how near to it
    the steps came, and how well the system was solved; `quickstudy evaluate` shows them.

    Args:
        net: The body; a linear head is put on its features.
        outputs: Ways, or the number of real values to predict.
        steps: Inner steps. The paper takes 16 of gradient descent for five ways and 25 for twenty.
        strength: λ, how strongly the weights are held near their start.
        iterations: Of conjugate gradient, for the meta-gradient and for each Hessian-free step.
        damping: Added to the system that is solved, where the loss may bend down.
        solver: What steps: the "rule", down the slope, or "hessian-free", by the slope and the curvature of the
            outputs' loss (Gauss-Newton steps by conjugate gradient, Martens 2010). Those come near the minimum in a
            few steps however sharp it is, where a rule's rate must fit; each costs as much as some
            3 · `iterations` steps of a rule.
        rule: How a slope becomes a step. It can learn nothing: a minimum does not depend on the way there.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.

    Raises:
        SettingsError: the rule meta-learns something.
    """

    tags = Tags(any_ways=False, relabels=False, regression=True)
    estimated = "the meta-gradient is that of the inner problem's minimum, which the inner steps only come near to"

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        steps: Count = 16,
        strength: Rate = 2.0,
        iterations: Size = 5,
        damping: Annotated[float, Field(ge=0)] = 0.0,
        solver: Literal["rule", "hessian-free"] = "rule",
        rule: Annotated[Rule, Choice("rule")] = SGD(rate=0.03),
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.head = linear_head(width_of(net), outputs)
        self.steps = steps
        self.strength = strength
        self.iterations = iterations
        self.damping = damping
        self.solver = solver
        self.rule = rule
        self.likelihood = likelihood
        refuse_learned(
            rule, weights_of(net=net, head=self.head), "iMAML's meta-gradient is that of a minimum, however reached"
        )

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Adapted:
        """The learner after `steps` steps; 0 is the initial one."""
        weights = proximal(
            self._loss,
            weights_of(net=self.net, head=self.head),
            ({}, support),
            strength=self.strength,
            solver=self._solver(steps),
            iterations=self.iterations,
            damping=self.damping,
        )
        return settled(self.net, weights, support)

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        return body_and_head.predict(self.net, learner, x, self.likelihood)

    def residuals(self, episode: Episode) -> Residuals:
        """How well a task's inner problem and its linear system are solved."""
        start = {name: leaf.detach() for name, leaf in weights_of(net=self.net, head=self.head).items()}
        end = {name: leaf.detach() for name, leaf in self.adapt(episode.support).weights.items()}
        data: tuple[Params, Examples] = ({}, episode.support)

        def penalised_slope(at: Params) -> Tensor:
            slope = torch.func.grad(self._loss)(at, *data)
            return _joined({name: slope[name] + self.strength * (at[name] - start[name]) for name in at})

        def query(weights: Params) -> Tensor:
            said = self.predict(settled(self.net, weights, episode.support), episode.query.x)
            return query_loss(said, episode.query)

        def product(along: Tensor) -> Tensor:
            parts = torch.split(along, [leaf.numel() for leaf in end.values()])
            tree = {name: part.view_as(end[name]) for name, part in zip(end, parts, strict=True)}
            return _joined(hessian_product(self._loss, end, data, tree)) + (self.strength + self.damping) * along

        solution = conjugate_gradient(product, _joined(torch.func.grad(query)(end)), self.iterations)
        return Residuals(penalised_slope(end).norm() / penalised_slope(start).norm(), solution.residual)

    def examine(self, episode: Episode, *noise: Tensor) -> dict[str, Tensor]:
        """`residuals`, by the names that reports show."""
        slope, system = self.residuals(episode)
        return {"slope left by the inner steps": slope, "residual of the linear system": system}

    def _solver(self, steps: int) -> Solver:
        if self.solver == "rule":
            return Descent(self.rule, steps)
        outputs = partial(outputs_of, net=self.net, compose=None)
        return HessianFree(outputs, partial(loss_of_outputs, kind=self.likelihood), steps, self.iterations)

    @property
    def _loss(self) -> partial[Tensor]:
        return partial(support_loss, net=self.net, kind=self.likelihood, compose=None)


def _joined(tree: Params) -> Tensor:
    return torch.cat([leaf.flatten() for leaf in tree.values()])
