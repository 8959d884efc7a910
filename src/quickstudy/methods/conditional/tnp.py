"""Transformer neural processes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.precision import said_by
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Fraction, Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.conditional import functions
from quickstudy.methods.conditional.encoders import perceptron
from quickstudy.nets.attention import Memory, Transformer
from quickstudy.nets.net import width_of

__all__ = ["TNP", "Remembered"]


class Remembered(NamedTuple):
    """What a transformer learns of a task: the keys and values of its support, by layer."""

    memories: tuple[Memory, ...]
    mask: Bool[Tensor, " n"]
    present: Bool[Tensor, " k"]
    statistics: Statistics


class TNP(QueryScored):
    """Let a transformer read the support, and each query read what it read (Nguyen and Grover 2022, "TNP-D").

    Meta-learned: the net, the embedding of tokens, the transformer and its head.
    Adapts by: passing the support through, its examples attending to each other; keys and values are kept.
    Scored by: the query's negative log-likelihood, every query attending to the support alone (equation 5).

    A token is a place, a value, and a flag that tells known values from those asked for, which are zeros. There are no
    positions, so that the order of the support does not matter. Each class is a function that is 1 at its examples;
    what is said of it is its logit.

    Args:
        net: What inputs are embedded by; "flatten" for places as they are.
        outputs: Ways, or the number of real values to predict.
        width: Of a token.
        hidden: Of the perceptrons between attentions, and of the head.
        heads: Of each attention.
        layers: Of the transformer.
        embedding: Layers that make a token.
        floor: The least standard deviation of a real value, without which that of a sure net could be 0. The paper has
            none; its deviation is an exponential, here a softplus, which no step can make overflow.
        likelihood: What is predicted: "categorical" classes or "gaussian" values.
    """

    tags = Tags(
        regression=True,
        vectors="flatten",
        exceptions={
            "learns": "six layers learn nothing at the check's rate of 0.01; at 0.001 they pass",
            "learns (regression)": "200 steps of the check only teach it the average wave",
        },
    )

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        width: Size = 64,
        hidden: Size = 128,
        heads: Size = 4,
        layers: Size = 6,
        embedding: Size = 4,
        floor: Fraction = 1e-4,
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.values = functions.values_of(likelihood, outputs)
        self.net = net
        self.embed = perceptron(width_of(net) + self.values + 1, *(width,) * embedding)
        self.transformer = Transformer(width, heads, hidden, layers)
        self.head = perceptron(width, hidden, functions.numbers_said(likelihood, outputs))
        self.floor, self.likelihood = floor, likelihood

    def adapt(self, support: Examples, *noise: Tensor) -> Remembered:
        x, statistics = apply(self.net, None, support.x, mask=support.mask)
        x = torch.where(support.mask[:, None], x, 0.0)
        y = functions.as_functions(support, self.likelihood, x.dtype)
        memories = self.transformer.remember(self._tokens(x, y, known=True), support.mask)
        return Remembered(memories, support.mask, functions.known(support, self.likelihood), statistics)

    def predict(self, learner: Remembered, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        count = len(learner.memories[0].keys)
        asked = self._tokens(z, z.new_zeros(count, len(z), self.values), known=False)
        numbers = said_by(self.head, self.transformer(asked, learner.memories, learner.mask))
        return functions.said(numbers, self.likelihood, learner.present, self.floor)

    def _tokens(self, x: Float[Tensor, "n d"], y: Float[Tensor, "c n v"], known: bool) -> Float[Tensor, "c n w"]:
        flag = torch.full_like(y[..., :1], float(known))
        tokens: Tensor = self.embed(torch.cat([x.expand(len(y), -1, -1), y, flag], dim=-1))
        return tokens
