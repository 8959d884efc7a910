"""Reptile: meta-learning by moving towards where each task's training ends."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from quickstudy.core import tree
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Choice, Count, Size
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import Adam, Rule
from quickstudy.inner.rules import Params, refuse_learned
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted, linear_head, support_loss
from quickstudy.nets.net import weights_of, width_of

__all__ = ["Reptile", "dealt", "pull"]


class Reptile(MetaLearner):
    """Move the start towards where a task's ordinary training ends (Nichol et al. 2018).

    Meta-learned: the initial weights.
    Adapts by: `steps` steps down the support's mean loss.
    Scored by: ½‖θ - φ‖², with φ the weights after `train_steps` steps on mini-batches of all the task's examples, taken
    as a constant: the gradient in θ is θ - φ, the paper's update (algorithm 1 where a step has one task).

    No derivative goes through the inner steps, and support and query are one set in training. The paper's outer step
    is θ ← θ + ε(φ - θ) with ε from 1 to 0: optimizer=sgd, momentum=0, rate=1 and a falling schedule. Adam takes the
    same gradients. The paper's inner Adam (β₁ = 0) keeps its moments from task to task; here each task starts anew.

    Args:
        net: The body; a linear head is put on its features.
        outputs: Ways, or the number of real values to predict.
        steps: Steps on the support when adapting.
        train_steps: Steps of training on a task. One alone would be joint training of all tasks.
        batches: Mini-batches into which a task's examples are dealt in training; step i takes number i modulo these.
        rule: How a slope becomes a step. It can learn nothing, for no derivative goes through it.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.

    Raises:
        SettingsError: the rule meta-learns something.
    """

    tags = Tags(any_ways=False, relabels=False, regression=True)
    estimated = "Reptile's meta_loss stands for its update: the end of the inner steps counts as a constant"

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        steps: Count = 20,
        train_steps: Size = 8,
        batches: Size = 4,
        rule: Annotated[Rule, Choice("rule")] = Adam(rate=0.005, decay1=0.0),
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.head = linear_head(width_of(net), outputs)
        self.steps = steps
        self.train_steps = train_steps
        self.batches = batches
        self.rule = rule
        self.likelihood = likelihood
        refuse_learned(rule, weights_of(net=net, head=self.head), "no derivative goes through Reptile's inner steps")

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        whole = Examples(*(torch.cat(halves) for halves in zip(*episode, strict=True)))
        batches = dealt(whole, self.batches)
        start = weights_of(net=self.net, head=self.head)
        params = tree.map_leaves(torch.Tensor.detach, start)
        state = self.rule.start(params)
        for number in range(self.train_steps):
            slope, value = torch.func.grad_and_value(self._loss)(params, batches[number % self.batches])
            params, state = self.rule.step(params, slope, self.rule.told(state, value), {})
        return pull(start, params)

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Adapted:
        """The learner after `steps` steps; 0 is the initial one."""
        return body_and_head.adapt(
            self.net,
            weights_of(net=self.net, head=self.head),
            support,
            kind=self.likelihood,
            rule=self.rule,
            steps=steps,
            gradient="first-order",
        )

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        return body_and_head.predict(self.net, learner, x, self.likelihood)

    def _loss(self, weights: Params, examples: Examples) -> Float[Tensor, ""]:
        return support_loss(weights, {}, examples, net=self.net, kind=self.likelihood, compose=None)


def pull(start: Params, end: Params) -> Float[Tensor, ""]:
    """½‖start - end‖² with the end as a constant: its gradient in the start is start - end."""
    total = sum((start[name] - end[name].detach()).square().sum() for name in start)
    return torch.as_tensor(0.5 * total)


def dealt(examples: Examples, count: int) -> list[Examples]:
    """Examples dealt one by one into `count` mini-batches; padding comes last, so that it moves no example."""
    order = torch.argsort((~examples.mask).to(torch.uint8), stable=True)
    return [Examples(*(field[order[number::count]] for field in examples)) for number in range(count)]
