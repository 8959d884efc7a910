"""Relation networks."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner
from quickstudy.core.precision import at_least_single, in_own_precision, said_by
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.nets.net import width_of
from quickstudy.nets.norm import make_norm
from quickstudy.nets.pooling import MaxPool

__all__ = ["RelationNet", "Sums"]


class Sums(NamedTuple):
    """What a relation network learns of a task."""

    maps: Float[Tensor, "k d"]
    present: Bool[Tensor, " k"]
    statistics: Statistics


class RelationNet(MetaLearner):
    """Compare query and class by a net that learns how to compare (Sung et al. 2018).

    Meta-learned: the embedding net and the relation module, which gives a pair of embeddings a score in (0, 1).
    Adapts by: adding up the embeddings of each class's support.
    Scored by: squared error of the scores of a query with every class, against 1 for its own and 0 for the others
    (equation 2).

    The relation module is two blocks of convolution, normalisation, ReLU and max-pooling over the maps of both, laid
    one behind the other, and two linear layers. Maps of one pixel, and embeddings that are vectors, make its
    convolutions linear layers; for maps as the paper has them give Conv-4 two halvings. A class's probability is that
    of its pair being the match if exactly one is: a softmax of the scores' logits, whose order is that of the scores.

    Args:
        net: The embedding.
        loss: What training minimises: the paper's squared error ("mse"), or the "cross-entropy" of the probabilities.
        pooling: Whether a class is the "sum" of its support's embeddings, as in the paper, or their "mean", which does
            not grow with the shots.
        width: Channels of the relation module.
        hidden: Width of its first linear layer.
        norm: How the relation module normalises: a pair alone ("group") or not at all ("none"). The paper's batch
            normalisation over all pairs would let queries see each other.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        loss: Literal["mse", "cross-entropy"] = "mse",
        pooling: Literal["sum", "mean"] = "sum",
        width: Size = 64,
        hidden: Size = 8,
        norm: Literal["group", "none"] = "group",
    ) -> None:
        super().__init__()
        self.net = net
        self.maps: tuple[int, int, int] = getattr(net, "maps", None) or (width_of(net), 1, 1)
        self.relation: nn.Sequential = _relation(self.maps, width, hidden, norm)
        self.loss, self.pooling = loss, pooling

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        query = episode.query
        said = self.predict(self.adapt(episode.support), query.x)
        if self.loss == "cross-entropy":
            return masked_mean(said.nll(query.y), query.mask)
        scores = at_least_single(said.logits).sigmoid()
        error = (scores - query.y.to(scores.dtype)).square()
        return masked_mean(error.sum(-1), query.mask)

    def adapt(self, support: Examples, *noise: Tensor) -> Sums:
        z, statistics = apply(self.net, None, support.x, mask=support.mask)
        member = (support.y.to(z.dtype) * support.mask.to(z.dtype)[:, None]).T
        count = member.sum(-1)
        weight = member if self.pooling == "sum" else member / count.clamp(min=1)[:, None]
        with in_own_precision(z):
            return Sums(weight @ z, count > 0, statistics)

    def predict(self, learner: Sums, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        n, k = len(z), len(learner.maps)
        # A convolution of two maps laid one behind the other is the sum of one of each: n + k of them, not n times k.
        first, others = self.relation[0], self.relation[1:]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(others, nn.Sequential)
        of_class, of_query = first.weight[:, : self.maps[0]], first.weight[:, self.maps[0] :]

        def convolved(maps: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            # in the weights' precision: autocast overlooks a convolution that is mapped and not differentiated
            return F.conv2d(maps.view(-1, *self.maps).to(weight.dtype), weight, bias, padding=weight.shape[-1] // 2)

        pairs = convolved(z, of_query)[:, None] + convolved(learner.maps, of_class, first.bias)
        logits = said_by(others, pairs.flatten(0, 1)).view(n, k)
        # A class without support is nothing to be compared with, and is never predicted.
        return Categorical.among(learner.present, logits)


def _relation(maps: tuple[int, int, int], width: int, hidden: int, norm: Literal["group", "none"]) -> nn.Sequential:
    channels, height, columns = maps
    layers: list[nn.Module] = []
    for fan_in in (2 * channels, width):
        side = min(height, columns)
        size = 3 if side >= 3 else 1
        layers += [nn.Conv2d(fan_in, width, size, padding=size // 2), make_norm(norm, width), nn.ReLU()]
        if side >= 2:
            layers.append(MaxPool())
            height, columns = height // 2, columns // 2
    flat = width * height * columns
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, 1))
