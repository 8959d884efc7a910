"""VERSA: a net says, from a class's examples, where the weights of its row of the head may lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored
from quickstudy.core.predictions import Categorical, Mixture
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.metric.protonet import class_means
from quickstudy.nets.net import width_of

__all__ = ["VERSA", "Heads"]

PLACES = 64
"""Classes that are drawn for independently; of more, the 65th is drawn for as the first is."""


class Heads(NamedTuple):
    """What VERSA learns of a task: where the head may lie, and what is drawn of it. A row's last weight is its bias."""

    mean: Float[Tensor, "k w"]
    variance: Float[Tensor, "k w"]
    drawn: Float[Tensor, "m k"]
    """By how many deviations each sample's logits leave their mean."""
    present: Bool[Tensor, " k"]
    statistics: Statistics


class VERSA(QueryScored):
    """Infer a distribution of linear heads in one pass (Gordon et al. 2019, "VERSA").

    Meta-learned: the net, and the amortisation net that says a mean and a variance for each weight of a class's row.
    Adapts by: the amortisation net of each class's mean features, of that class alone: any number of classes will do
    (section 3).
    Scored by: -log of the mean over `samples` heads of the probability of each query's class (equation 5).

    A logit that is linear in normal weights is itself normal, so logits are drawn in place of weights (Kingma et al.
    2015, "local reparameterization"): for each query the same distribution. Which numbers a class is drawn by goes by
    the order of the classes' means, not by their names. Without noise the head is its mean.

    Args:
        net: The features.
        samples: Heads drawn: members of the prediction.
        width: Of the two hidden layers of the amortisation net.
    """

    def __init__(self, net: nn.Module, *, samples: Size = 10, width: Size = 256) -> None:
        super().__init__()
        features = width_of(net)
        self.net = net
        last = nn.Linear(width, 2 * (features + 1))
        self.infer = nn.Sequential(nn.Linear(features, width), nn.ELU(), nn.Linear(width, width), nn.ELU(), last)
        with torch.no_grad():  # logits that deviate by about 1 where features are about 1, as a place to start
            last.bias[features + 1 :] = -math.log(features + 1)
        self.samples = samples
        self.noise_size = samples * PLACES

    def adapt(self, support: Examples, *noise: Tensor) -> Heads:
        z, statistics = apply(self.net, None, support.x, mask=support.mask)
        means, present = class_means(z, support)
        mean, log_variance = self.infer(means).chunk(2, dim=-1)
        drawn = noise[0] if noise else z.new_zeros(self.noise_size)
        # argsort twice: the place of each class in the order of a number that depends on no name
        place = mean.sum(-1).argsort().argsort() % PLACES
        return Heads(mean, log_variance.exp(), drawn.view(self.samples, PLACES)[:, place], present, statistics)

    def predict(self, learner: Heads, x: Shaped[Tensor, "n *item"]) -> Mixture:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        z = torch.cat([z, z.new_ones(len(z), 1)], dim=1)
        deviation = (z.square() @ learner.variance.T).sqrt()
        logits = z @ learner.mean.T + learner.drawn[:, None] * deviation
        parts = Categorical.among(learner.present, logits)
        return Mixture(parts, learner.drawn.new_zeros(self.samples))
