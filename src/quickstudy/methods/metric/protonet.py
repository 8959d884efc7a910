"""Prototypical networks."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored
from quickstudy.core.precision import in_own_precision
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Rate
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor

__all__ = ["ProtoNet", "Prototypes", "class_means", "cosines", "squared_distances"]


class Prototypes(NamedTuple):
    """What a prototypical network learns of a task."""

    means: Float[Tensor, "k d"]
    present: Bool[Tensor, " k"]
    statistics: Statistics


class ProtoNet(QueryScored):
    """Classify by distance to class means in a learned space (Snell et al. 2017).

    Meta-learned: the embedding net, and the temperature if asked for.
    Adapts by: averaging the embeddings of each class's support (equation 1).
    Scored by: cross-entropy of softmax over negative squared distances on the query (equation 2).

    With net "flatten" or an untrained net it is the nearest-centroid floor. With cosines, a learned temperature that
    starts at 0.1 and a net that was trained as a conventional classifier, the run in training.start, it is
    Meta-Baseline (Chen et al. 2021; by SGD with rate 0.001 and 4 tasks a step).

    Args:
        net: The embedding.
        distance: How a query is compared with a prototype; the paper found squared Euclidean better than cosine.
        temperature: Divides the squared distances, or multiplies cosines by its inverse. 1 is the paper's; larger
            values soften early training.
        learn_temperature: Whether the temperature is meta-learned; it then starts at `temperature`. Cosines need it, or
            one far below 1: they differ by 2 at most, and a softmax of them is almost flat.
        pretrained: Whether the net must have been trained before: training without a run in training.start is refused.
            A net without weights has nothing to be trained.
    """

    log_temperature: nn.Parameter | None

    def __init__(
        self,
        net: nn.Module,
        *,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        temperature: Rate = 1.0,
        learn_temperature: bool = False,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        self.distance = distance
        self.temperature = temperature
        learned = nn.Parameter(torch.tensor(math.log(temperature))) if learn_temperature else None
        self.register_parameter("log_temperature", learned)
        if pretrained and next(net.parameters(), None) is not None:
            self.needs_start = (
                "a net that was trained as a classifier comes before its prototypes (meta-baseline). Train rfs first, "
                "and name its run in --start."
            )

    def adapt(self, support: Examples, *noise: Tensor) -> Prototypes:
        z, statistics = apply(self.net, None, support.x, mask=support.mask)
        return Prototypes(*class_means(z, support), statistics)

    def predict(self, learner: Prototypes, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        closeness = cosines(z, learner.means) if self.distance == "cosine" else -squared_distances(z, learner.means)
        temperature = self.temperature if self.log_temperature is None else self.log_temperature.exp()
        # A class without support has no prototype and is never predicted.
        return Categorical.among(learner.present, closeness / temperature)


def class_means(z: Float[Tensor, "n d"], support: Examples) -> tuple[Float[Tensor, "k d"], Bool[Tensor, " k"]]:
    """The mean of each class's embeddings, and whether it has any."""
    member = (support.y.to(z.dtype) * support.mask.to(z.dtype)[:, None]).T
    count = member.sum(-1)
    with in_own_precision(z):
        return member @ z / count.clamp(min=1)[:, None], count > 0


def cosines(a: Float[Tensor, "n d"], b: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    """Of the angles between vectors."""
    with in_own_precision(a):
        return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T


def squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    """Squared Euclidean distances. By hand: torch.cdist has no second derivative."""
    with in_own_precision(a):
        return a.square().sum(-1, keepdim=True) - 2 * a @ b.T + b.square().sum(-1)
