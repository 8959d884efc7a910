"""A net with a linear head, adapted by gradient steps: what MAML, its variants and fine-tuning share.

Weights are named as in a module with the parts `net` and `head`; those under "net." may be absent, and then the
net's own stand in for them and only the head steps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples, masked_mean
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.errors import MethodError
from quickstudy.inner import Gradient, Rule, unroll
from quickstudy.inner.rules import Params

__all__ = ["Adapted", "adapt", "predict", "weights_of", "width_of"]


class Adapted(NamedTuple):
    """What a gradient method learns of a task: the weights that changed, and the support's normalisation statistics."""

    weights: Params
    statistics: Statistics


def width_of(net: nn.Module) -> int:
    """How many features a body gives each item, by its `features` attribute.

    Raises:
        MethodError: it has none.
    """
    features = getattr(net, "features", None)
    if not isinstance(features, int):
        raise MethodError(
            f"a body must say how many features it gives in an integer attribute `features`, got {features!r} on "
            f"{type(net).__name__}. Set net.features = ..., or inherit quickstudy.nets.Net."
        )
    return features


def weights_of(**parts: nn.Module) -> Params:
    """The parameters of named parts as one dictionary: `weights_of(head=linear)` has "head.weight", "head.bias"."""
    return {f"{part}.{name}": weight for part, module in parts.items() for name, weight in module.named_parameters()}


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
) -> Adapted:
    """The weights after `steps` steps from `start` down the mean loss of the support."""

    def head_loss(weights: Params, features: Float[Tensor, "n d"], support: Examples) -> Float[Tensor, ""]:
        return masked_mean(_read(weights, features, kind).nll(support.y), support.mask)

    def loss(weights: Params, support: Examples) -> Float[Tensor, ""]:
        features, _ = apply(net, _body(weights), support.x, mask=support.mask)
        return head_loss(weights, features, support)

    if _body(start):
        weights = unroll(loss, start, (support,), rule=rule, steps=steps, gradient=gradient, learned=learned)[-1]
        _, statistics = apply(net, _body(weights), support.x, mask=support.mask)
        return Adapted(weights, statistics)
    # The body is the same at every step: one pass through it serves them all.
    features, statistics = apply(net, None, support.x, mask=support.mask)
    data = (features, support)
    return Adapted(
        unroll(head_loss, start, data, rule=rule, steps=steps, gradient=gradient, learned=learned)[-1], statistics
    )


def predict(net: nn.Module, learner: Adapted, x: Shaped[Tensor, "n *item"], kind: Likelihood) -> Categorical | Gaussian:
    """What the adapted weights say of `x`, normalised by the support's statistics."""
    features, _ = apply(net, _body(learner.weights), x, statistics=learner.statistics)
    return _read(learner.weights, features, kind)


def _body(weights: Params) -> Params:
    return {name.removeprefix("net."): weight for name, weight in weights.items() if name.startswith("net.")}


def _read(weights: Params, features: Float[Tensor, "n d"], kind: Likelihood) -> Categorical | Gaussian:
    return likelihood(kind, F.linear(features, weights["head.weight"], weights["head.bias"]))
