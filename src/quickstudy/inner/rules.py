"""Step rules as values: how an inner step turns a slope (the loss's gradient) into new parameters.

A rule is frozen settings; what changes while stepping is its state, and what it meta-learns are the tensors that
`learned` starts from, which the method owns as parameters and hands back to every step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch

from quickstudy import registry
from quickstudy.core import tree
from quickstudy.core.settings import Fraction, Rate, Size, settings
from quickstudy.core.shapes import Tensor
from quickstudy.errors import SettingsError

__all__ = ["SGD", "Adam", "LearnedRates", "Momentum", "Params", "Rule", "refuse_learned"]

Params = dict[str, Tensor]


class Rule(ABC):
    """One way to step. All its functions are pure and differentiable in every tensor they are given."""

    @property
    def estimated(self) -> str:
        """Why the derivative of a step is an estimate; empty where it is exact."""
        return ""

    def learned(self, params: Params) -> Params:
        """What the rule meta-learns, at its starting values; empty for most rules."""
        return {}

    def start(self, params: Params) -> Any:
        """The state before the first step: tensors, or whatever counts steps. It does not leave the inner loop."""
        return ()

    @property
    def reads_loss(self) -> bool:
        """Whether each step has to be preceded by `told`. It costs a rule that says no nothing."""
        return False

    def told(self, state: Any, loss: Tensor) -> Any:
        """The state, once it knows the loss where the next step begins: a scalar, differentiated as slopes are."""
        return state

    @abstractmethod
    def step(self, params: Params, slope: Params, state: Any, learned: Params) -> tuple[Params, Any]:
        """The parameters and the state after one step."""


def refuse_learned(rule: Rule, params: Params, why: str) -> None:
    """Refuse a rule that meta-learns something of these parameters, where nothing would train it.

    Args:
        rule: The rule.
        params: What it would step.
        why: Why nothing would, as the end of a sentence.

    Raises:
        SettingsError: it does.
    """
    if learned := rule.learned(params):
        some = ", ".join([*learned][:3]) + ", ..." * (len(learned) > 3)
        raise SettingsError(
            f"the rule {registry.name_of(type(rule))!r} has tensors to learn ({some}) that would stay "
            f"where they start: {why}. Choose a rule that learns nothing, such as sgd or adam, or a method "
            "whose meta-gradient goes through the steps, such as maml or protomaml."
        )


@settings
class SGD(Rule):
    """Plain gradient descent: θ ← θ - rate · slope."""

    rate: Rate = 0.05
    """Step size. The inner loss is a mean over examples."""

    def step(self, params: Params, slope: Params, state: Any, learned: Params) -> tuple[Params, Any]:
        return {name: params[name] - self.rate * slope[name] for name in params}, state


@settings
class Momentum(Rule):
    """Gradient descent with a velocity: v ← decay · v + slope; θ ← θ - rate · v (Polyak 1964)."""

    rate: Rate = 0.1
    """Step size."""
    decay: Fraction = 0.9
    """How much of the velocity survives a step."""

    def start(self, params: Params) -> Params:
        return tree.map_leaves(torch.zeros_like, params)

    def step(self, params: Params, slope: Params, state: Params, learned: Params) -> tuple[Params, Params]:
        velocity = {name: self.decay * state[name] + slope[name] for name in params}
        return {name: params[name] - self.rate * velocity[name] for name in params}, velocity


@settings
class Adam(Rule):
    """Steps scaled by running moments of the slope (Kingma and Ba 2015), differentiable at a slope of zero."""

    rate: Rate = 0.01
    """Step size."""
    decay1: Fraction = 0.9
    """How much of the first moment survives a step (β₁)."""
    decay2: Fraction = 0.999
    """How much of the second moment survives a step (β₂)."""
    epsilon: Rate = 1e-8
    """Keeps the division finite. It stands under the root, where a slope of zero still has a derivative."""

    def start(self, params: Params) -> tuple[Params, Params, Tensor]:
        zeros = tree.map_leaves(torch.zeros_like, params)
        return zeros, zeros, next(iter(params.values())).new_zeros(())

    def step(self, params: Params, slope: Params, state: Any, learned: Params) -> tuple[Params, Any]:
        first, second, number = state
        number = number + 1
        first = {n: self.decay1 * first[n] + (1 - self.decay1) * slope[n] for n in params}
        second = {n: self.decay2 * second[n] + (1 - self.decay2) * slope[n].square() for n in params}
        rate1, rate2 = 1 - self.decay1**number, 1 - self.decay2**number
        moved = {
            n: params[n] - self.rate * (first[n] / rate1) * torch.rsqrt(second[n] / rate2 + self.epsilon**2)
            for n in params
        }
        return moved, (first, second, number)


@settings
class LearnedRates(Rule):
    """Gradient descent whose step sizes are meta-learned along with the start.

    With per="element" it is Meta-SGD (Li et al. 2017), where a learned rate may become negative; with per="tensor"
    each weight tensor has one rate, and with `steps` above 1 it has one for each step: the layer-wise and step-wise
    rates of MAML++ (Antoniou et al. 2019). Steps after the last of `steps` take the rates of the last.

    An outer step of Adam moves every number that it learns by about its own rate, however small that number is. With
    space="log" it is the logarithm of a step size: rates stay positive, and change by shares of themselves.
    """

    rate: Rate = 0.1
    """Where every learned step size starts."""
    per: Literal["element", "tensor"] = "element"
    """Whether every number or every tensor has a step size of its own."""
    steps: Size = 1
    """Steps that have step sizes of their own; 1 for the same at every step."""
    space: Literal["linear", "log"] = "linear"
    """Whether step sizes are learned as such, or by their logarithms, and so stay positive."""

    def learned(self, params: Params) -> Params:
        def ones(leaf: Tensor) -> Tensor:
            shape = leaf.shape if self.per == "element" else torch.Size()
            return leaf.detach().new_ones(shape if self.steps == 1 else (self.steps, *shape))

        start = math.log(self.rate) if self.space == "log" else self.rate
        return {name: start * ones(leaf) for name, leaf in params.items()}

    def start(self, params: Params) -> int:
        return 0

    def step(self, params: Params, slope: Params, state: int, learned: Params) -> tuple[Params, int]:
        at = () if self.steps == 1 else min(state, self.steps - 1)
        rates = {name: learned[name][at].exp() if self.space == "log" else learned[name][at] for name in params}
        return {name: params[name] - rates[name] * slope[name] for name in params}, state + 1
