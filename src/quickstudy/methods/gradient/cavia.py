"""CAVIA: adapt a few context parameters, and share all the rest."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import nn

from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Choice, Count, Size
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.errors import MethodError
from quickstudy.inner import SGD, Gradient, Rule
from quickstudy.inner.rules import Params
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted, given, kept, linear_head
from quickstudy.nets.net import weights_of, width_of

__all__ = ["CAVIA"]

WIDER = 10.0
"""How much wider than a linear layer's usual range the weights start that turn a context into scales and shifts."""


class CAVIA(QueryScored):
    """Adapt a context vector by gradient steps; every other weight is shared by all tasks (Zintgraf et al. 2019).

    Meta-learned: the net, the head, and how the context enters them (and what the rule learns of the context).
    Adapts by: `steps` steps on the context alone, from zero, down the support's mean loss (equation 4).
    Scored by: the query's negative log-likelihood under the adapted context (equation 5).

    Appending the context to the input of a linear layer adds a linear function of it to the layer's bias; that is how
    it enters with at="first", and why a task's learner is as small as the context. With at="film" it scales and shifts
    the channels of the last layer but one (after the third of four convolutions, as in the paper). Normalised layers
    are shifted after their normalisation, which would undo a shift before it.

    A step of rate r on the context is one of r/3 on each scale and shift where the layer that makes them starts as
    linear layers do. Slopes of those are so small that a net then stays at chance: it starts ten times as wide here,
    for steps a hundred times as large, at the paper's rate.

    Args:
        net: The body; a linear head is put on its features.
        outputs: Ways, or the number of real values to predict.
        context: Numbers that adapt: 100 in the paper for images, 5 for sines.
        at: Where the context enters: the "first" layer, as if appended to the input, or by "film".
        steps: Inner steps. Evaluation may ask for more.
        rule: How a slope becomes a step.
        gradient: How the adapted context depends on the shared weights.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.
    """

    tags = Tags(any_ways=False, relabels=False, regression=True)

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        context: Size = 100,
        at: Literal["first", "film"] = "film",
        steps: Count = 2,
        rule: Annotated[Rule, Choice("rule")] = SGD(rate=1.0),
        gradient: Gradient = "exact",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net = net
        self.head = linear_head(width_of(net), outputs)
        layers = _shiftable(net)
        self.layer = layers[0] if at == "first" else layers[max(0, len(layers) - 2)]
        channels = len(net.get_parameter(f"{self.layer}.bias"))
        self.enter = nn.Linear(context, channels if at == "first" else 2 * channels, bias=False)
        if at == "film":
            bound = WIDER / context**0.5
            nn.init.uniform_(self.enter.weight, -bound, bound)
        self.context = context
        self.at = at
        self.steps = steps
        self.rule = rule
        self.gradient = gradient
        self.likelihood = likelihood
        self.estimated = rule.estimated
        self.rates = kept(rule.learned(self._start()))

    def adapt(self, support: Examples, *noise: Tensor) -> Adapted:
        return self.adapt_for(support, self.steps)

    def adapt_for(self, support: Examples, steps: int) -> Adapted:
        """The learner after `steps` steps; 0 is the one whose context is zero."""
        return body_and_head.adapt(
            self.net,
            self._start(),
            support,
            kind=self.likelihood,
            rule=self.rule,
            steps=steps,
            gradient=self.gradient,
            learned=given(self.rates),
            fixed=self._shared(),
            compose=self._compose,
        )

    def predict(self, learner: Adapted, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        return body_and_head.predict(self.net, learner, x, self.likelihood, fixed=self._shared(), compose=self._compose)

    def _start(self) -> Params:
        """The weights that step, as they start."""
        return {"context": self.enter.weight.new_zeros(self.context)}

    def _shared(self) -> Params:
        return weights_of(net=self.net, head=self.head, enter=self.enter)

    def _compose(self, weights: Params) -> Params:
        """The weights of net and head under a context."""
        name = f"net.{self.layer}"
        entering: Float[Tensor, " c"] = weights["enter.weight"] @ weights["context"]
        if self.at == "first":
            return weights | {f"{name}.bias": weights[f"{name}.bias"] + entering}
        scale, shift = 1 + entering[: len(entering) // 2], entering[len(entering) // 2 :]
        weight = weights[f"{name}.weight"]
        return weights | {
            f"{name}.weight": weight * scale.view(-1, *(1,) * (weight.ndim - 1)),
            f"{name}.bias": torch.addcmul(shift, weights[f"{name}.bias"], scale),
        }


def _shiftable(net: nn.Module) -> list[str]:
    """The layers that have weights and biases, in order; where some of them normalise, those alone."""
    named = dict(net.named_parameters())
    biased = [name.removesuffix(".bias") for name in named if name.endswith(".bias")]
    layers = [layer for layer in biased if f"{layer}.weight" in named]
    normalising = [layer for layer in layers if named[f"{layer}.weight"].ndim == 1]
    if not layers:
        raise MethodError(
            f"CAVIA's context enters a layer with a bias, and {type(net).__name__} has none. Use a net such as mlp or "
            "conv4."
        )
    return normalising or layers
