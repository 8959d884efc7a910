"""A net with a linear head, adapted by gradient steps: what MAML, its variants and fine-tuning share.

Weights are named as in a module with the parts `net` and `head`. Some of them step; others may be `fixed`: part of the
loss and of the meta-gradient, but moved by no step. Where only the head steps the body needs no mention, and is
passed through once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples, masked_mean
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner import Gradient, Rule, descend, unroll
from quickstudy.inner.rules import Params

__all__ = [
    "Adapted",
    "Compose",
    "adapt",
    "given",
    "kept",
    "linear_head",
    "loss_of_outputs",
    "outputs_of",
    "path",
    "predict",
    "query_loss",
    "settled",
    "support_loss",
    "tied_head",
]

Compose = Callable[[Params], Params]
"""Makes the weights of net and head ("net.", "head.") of all there are: those that step and those that are fixed."""


class Adapted(NamedTuple):
    """What a gradient method learns of a task: the weights that changed, and the support's normalisation statistics."""

    weights: Params
    statistics: Statistics


def linear_head(features: int, outputs: int) -> nn.Linear:
    """A head whose weights start near zero, so that no class slot is ahead of another before the first step."""
    head = nn.Linear(features, outputs)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head


def tied_head(features: int) -> nn.Linear:
    """One row of such weights, where every class can start; without a bias, for one that all share says nothing."""
    head = nn.Linear(features, 1, bias=False)
    nn.init.normal_(head.weight, std=0.01)
    return head


def kept(tensors: Params) -> nn.ParameterDict:
    """Tensors as parameters of a module, whose names may hold no dots; `given` gives them back."""
    return nn.ParameterDict({name.replace(".", "/"): tensor for name, tensor in tensors.items()})


def given(parameters: nn.ParameterDict) -> Params:
    """The tensors of `kept` by their own names."""
    return {name.replace("/", "."): tensor for name, tensor in parameters.items()}


def path(
    net: nn.Module,
    start: Params,
    support: Examples,
    *,
    kind: Likelihood,
    rule: Rule,
    steps: int,
    gradient: Gradient,
    learned: Params | None = None,
    fixed: Params | list[Params] | None = None,
    compose: Compose | None = None,
    by_class: bool = False,
) -> list[Params]:
    """The weights before, between and after `steps` steps from `start` down the loss of the support.

    Args:
        net: The body.
        start: The weights that step.
        support: One task's.
        kind: What the outputs mean.
        rule: How a slope becomes a step.
        steps: How many.
        gradient: As `inner.unroll` takes it.
        learned: What the rule has learned.
        fixed: Weights that the loss depends on and that do not step. They may be left out where only the head steps:
            the net's own stand in for them. A list has those of the loss of each step; steps after its last take the
            last.
        compose: Makes the weights of net and head of those that step and those that are fixed; by default they are
            those weights.
        by_class: Whether the loss is the sum of the classes' own means, or the mean over all examples.
    """
    loss, data = _problem(net, start, support, kind=kind, fixed=fixed, compose=compose, by_class=by_class)
    return unroll(loss, start, data, rule=rule, steps=steps, gradient=gradient, learned=learned)


def _problem(
    net: nn.Module,
    start: Params,
    support: Examples,
    *,
    kind: Likelihood,
    fixed: Params | list[Params] | None,
    compose: Compose | None,
    by_class: bool,
) -> tuple[Callable[..., Tensor], list[tuple[Any, ...]]]:
    """The loss that the steps go down, and what it is computed from at each, or at all."""
    by_step = fixed if isinstance(fixed, list) else [fixed or {}]
    if _body(start) or any(by_step):
        loss = partial(support_loss, net=net, kind=kind, compose=compose, by_class=by_class)
        return loss, [(each, support) for each in by_step]
    # The body is the same at every step: one pass through it serves them all.
    features, _ = apply(net, None, support.x, mask=support.mask)
    return partial(_head_loss, kind, by_class), [(features, support)]


def support_loss(
    weights: Params,
    fixed: Params,
    support: Examples,
    *,
    net: nn.Module,
    kind: Likelihood,
    compose: Compose | None,
    by_class: bool = False,
) -> Float[Tensor, ""]:
    """The loss of the support, at weights that step beside others that are fixed."""
    outputs = outputs_of(weights, fixed, support, net=net, compose=compose)
    return loss_of_outputs(outputs, fixed, support, kind=kind, by_class=by_class)


def outputs_of(
    weights: Params, fixed: Params, support: Examples, *, net: nn.Module, compose: Compose | None
) -> Float[Tensor, "n k"]:
    """What the head puts out for the support."""
    whole = _whole(weights, fixed, compose)
    features, _ = apply(net, _body(whole) or None, support.x, mask=support.mask)
    return _outputs(whole, features)


def loss_of_outputs(
    outputs: Float[Tensor, "n k"], fixed: Params, support: Examples, *, kind: Likelihood, by_class: bool = False
) -> Float[Tensor, ""]:
    """`support_loss` as a function of the support's outputs."""
    nll = likelihood(kind, outputs).nll(support.y)
    if not by_class:
        return masked_mean(nll, support.mask)
    member = (support.y != 0) & support.mask[:, None]
    alike = member.to(nll.dtype) @ (1 / member.sum(0).clamp(min=1).to(nll.dtype))  # one over how many are of its class
    return torch.where(support.mask, alike * nll, 0.0).sum()


def settled(
    net: nn.Module,
    weights: Params,
    support: Examples,
    *,
    fixed: Params | None = None,
    compose: Compose | None = None,
) -> Adapted:
    """The learner that has these weights: its statistics are those of the support under them."""
    _, statistics = apply(net, _body(_whole(weights, fixed, compose)) or None, support.x, mask=support.mask)
    return Adapted(weights, statistics)


def adapt(
    net: nn.Module,
    start: Params,
    support: Examples,
    *,
    kind: Likelihood,
    rule: Rule,
    steps: int,
    gradient: Gradient,
    learned: Params | None = None,
    fixed: Params | None = None,
    compose: Compose | None = None,
    by_class: bool = False,
) -> Adapted:
    """The learner at the end of `path`."""
    loss, data = _problem(net, start, support, kind=kind, fixed=fixed, compose=compose, by_class=by_class)
    end = descend(loss, start, data, rule=rule, steps=steps, gradient=gradient, learned=learned)
    return settled(net, end, support, fixed=fixed, compose=compose)


def predict(
    net: nn.Module,
    learner: Adapted,
    x: Shaped[Tensor, "n *item"],
    kind: Likelihood,
    *,
    fixed: Params | None = None,
    compose: Compose | None = None,
) -> Categorical | Gaussian:
    """What the adapted weights, beside those that are fixed, say of `x`, normalised by the support's statistics."""
    whole = _whole(learner.weights, fixed, compose)
    features, _ = apply(net, _body(whole) or None, x, statistics=learner.statistics)
    return likelihood(kind, _outputs(whole, features))


def query_loss(said: Categorical | Gaussian, query: Examples) -> Float[Tensor, ""]:
    """The mean negative log-likelihood of the query."""
    return masked_mean(said.nll(query.y), query.mask)


def _whole(weights: Params, fixed: Params | None, compose: Compose | None) -> Params:
    together = {**(fixed or {}), **weights}
    return together if compose is None else compose(together)


def _body(weights: Params) -> Params:
    return {name.removeprefix("net."): weight for name, weight in weights.items() if name.startswith("net.")}


def _head_loss(
    kind: Likelihood, by_class: bool, weights: Params, features: Float[Tensor, "n d"], support: Examples
) -> Float[Tensor, ""]:
    return loss_of_outputs(_outputs(weights, features), {}, support, kind=kind, by_class=by_class)


def _outputs(weights: Params, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    return F.linear(features, weights["head.weight"], weights.get("head.bias"))
