"""Conditional neural processes."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood
from quickstudy.core.settings import Fraction, Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.conditional import functions
from quickstudy.methods.conditional.encoders import Code, Decoder, make_path
from quickstudy.methods.conditional.functions import Scored
from quickstudy.nets.net import width_of

__all__ = ["CNP", "Encoded"]


class Encoded(NamedTuple):
    """What a conditional neural process learns of a task: its support, encoded."""

    code: Code
    present: Bool[Tensor, " k"]
    statistics: Statistics


class CNP(MetaLearner):
    """Encode the support into one vector, and decode from it the value at any place (Garnelo et al. 2018, "CNP").

    Meta-learned: the net, the encoder and the decoder.
    Adapts by: the mean of an encoding of each example (equations 1 and 2); nothing is solved or stepped.
    Scored by: the negative log-likelihood of what the decoder says of support and query (equation 4).

    Layers are as many and as wide as in the code of the transformer neural processes (Nguyen and Grover 2022), whose
    protocol the task source "gp" follows. Each class is a function that is 1 at its examples, encoded by the mean of
    those alone, as in the paper (section 4.3); the decoder says its logit. The paper's decoder reads the encodings of
    all classes side by side instead, and so takes one number of classes.

    Args:
        net: What inputs are embedded by; "flatten" for places as they are.
        outputs: Ways, or the number of real values to predict.
        path: What the decoder is told of the support: its "mean" encoding, or by "attention" what the examples near a
            place say, which is the deterministic path of attentive neural processes (Kim et al. 2019).
        width: Of every layer.
        layers: Of the decoder.
        heads: Of the attention.
        floor: The least standard deviation of a real value. It bounds the likelihood that can be reached.
        scored: Whether the loss is about real values of support and query, or of the query alone.
        likelihood: What is predicted: "categorical" classes or "gaussian" values.
    """

    tags = Tags(
        regression=True,
        vectors="flatten",
        exceptions={"learns (regression)": "200 steps of the check only teach it the average wave"},
    )

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        path: Literal["mean", "attention"] = "mean",
        width: Size = 128,
        layers: Size = 3,
        heads: Size = 8,
        floor: Fraction = 0.1,
        scored: Scored = "all",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        features, values = width_of(net), functions.values_of(likelihood, outputs)
        self.net = net
        self.path = make_path(path, features, values, width, heads, own=likelihood == "categorical")
        self.decoder = Decoder(features, width, width, layers, functions.numbers_said(likelihood, outputs))
        self.floor, self.scored, self.likelihood = floor, scored, likelihood

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        targets = functions.scored(episode, self.likelihood, self.scored)
        return functions.mean_nll(self.predict(self.adapt(episode.support), targets.x), targets)

    def adapt(self, support: Examples, *noise: Tensor) -> Encoded:
        x, statistics = apply(self.net, None, support.x, mask=support.mask)
        x = torch.where(support.mask[:, None], x, 0.0)
        code = self.path.encode(x, functions.as_functions(support, self.likelihood, x.dtype), support.mask)
        return Encoded(code, functions.known(support, self.likelihood), statistics)

    def predict(self, learner: Encoded, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        numbers = self.decoder(z, self.path.read(learner.code, z))
        return functions.said(numbers, self.likelihood, learner.present, self.floor)
