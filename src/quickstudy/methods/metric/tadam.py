"""TADAM: prototypes in a space that the task has a say in."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import QueryScored
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Count, Rate
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.metric.protonet import class_means, squared_distances
from quickstudy.nets.film import Modulation, modulated, places
from quickstudy.nets.net import width_of

__all__ = ["TADAM", "Conditioned", "TaskEmbedding"]


class Conditioned(NamedTuple):
    """What TADAM learns of a task."""

    means: Float[Tensor, "k d"]
    present: Bool[Tensor, " k"]
    modulation: Modulation
    statistics: Statistics


class TADAM(QueryScored):
    """Prototypes by a learned metric scale, in a net that the task itself modulates (Oreshkin et al. 2018, "TADAM").

    Meta-learned: the embedding net, the scale α of distances, and the task embedding network.
    Adapts by: embedding the support plainly; making of its mean prototype a scale and a shift for each channel of the
    net's normalising layers (section 2.3); and averaging each class's support embedded by the net so modulated.
    Scored by: cross-entropy of softmax over -α · squared distances on the query (equation 2), + `penalty` · the
    squares of the factors through which the task has its say.

    Those factors start at 0, where it is a prototypical network. A net that normalises nothing is modulated at all its
    layers, one without weights not at all.

    The net is trained along as a classifier of all training classes, for the paper found that task embeddings only help
    then (section 3.4). A training step is of the one kind or the other: conventional with probability 0.9^⌊20 t / T⌋ at
    step t of T, on a flat batch and with a head that tasks never see. That is left out where there is nothing to
    classify: tasks whose classes are new each time, as tables of a prior are, have no pool of classes, and a net
    without weights learns nothing of one.

    Args:
        net: The embedding.
        pool_outputs: Classes of the flat training pool; None where there is none.
        scale: Where α starts; it is learned as its logarithm.
        conditioned: Whether the task modulates the net; without, only the metric is scaled.
        penalty: Weight of the squared factors.
        flat_batch: Examples of a conventional step's batch; 0 trains on episodes alone.
    """

    head: nn.Linear | None

    def __init__(
        self,
        net: nn.Module,
        pool_outputs: int | None = None,
        *,
        scale: Rate = 1.0,
        conditioned: bool = True,
        penalty: Annotated[float, Field(ge=0)] = 0.01,
        flat_batch: Count = 64,
    ) -> None:
        super().__init__()
        self.net = net
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.embedding = TaskEmbedding(width_of(net), places(net) if conditioned else {})
        self.penalty = penalty
        classifies = pool_outputs is not None and next(net.parameters(), None) is not None
        self.pool_outputs, self.flat_batch = pool_outputs, flat_batch if classifies else 0
        self.head = nn.Linear(width_of(net), pool_outputs or 0) if self.flat_batch else None

    def flat_share(self, done: float) -> float:
        return 0.9 ** math.floor(20 * done)

    def flat_loss(self, batch: Examples) -> Float[Tensor, ""]:
        assert self.head is not None
        z, _ = apply(self.net, None, batch.x, mask=batch.mask)
        return masked_mean(Categorical(self.head(z)).nll(batch.y), batch.mask)

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        return super().meta_loss(episode) + self.penalty * self.embedding.factors.square().sum()

    def adapt(self, support: Examples, *noise: Tensor) -> Conditioned:
        modulation: Modulation = {}
        if self.embedding.places:
            plain, _ = apply(self.net, None, support.x, mask=support.mask)
            means, present = class_means(plain, support)
            modulation = self.embedding(present.to(means.dtype) @ means / present.sum().clamp(min=1))
        z, statistics = apply(self.net, modulated(self.net, modulation), support.x, mask=support.mask)
        return Conditioned(*class_means(z, support), modulation, statistics)

    def predict(self, learner: Conditioned, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = apply(self.net, modulated(self.net, learner.modulation), x, statistics=learner.statistics)
        logits = -self.log_scale.exp() * squared_distances(z, learner.means)
        # A class without support has no prototype and is never predicted.
        return Categorical.among(learner.present, logits)


class TaskEmbedding(nn.Module):
    """From a task's mean prototype to the modulation of a net: three layers for each place, of its own width.

    The first is shared by scale and shift, the second is residual, and what the third says is multiplied by a learned
    factor.

    Args:
        features: Of the prototype.
        places: What is modulated: names and numbers of channels.
    """

    def __init__(self, features: int, places: dict[str, int]) -> None:
        super().__init__()
        self.places = tuple(places)
        self.first = nn.ModuleList(nn.Linear(features, width) for width in places.values())
        self.scales = nn.ModuleList(_Residual(width) for width in places.values())
        self.shifts = nn.ModuleList(_Residual(width) for width in places.values())
        self.factors = nn.Parameter(torch.zeros(len(places), 2))

    def forward(self, prototype: Float[Tensor, " d"]) -> Modulation:
        """Scale and shift of every channel of each place."""
        said: Modulation = {}
        parts = zip(self.places, self.first, self.scales, self.shifts, self.factors, strict=True)
        for name, first, scale, shift, factors in parts:
            shared = F.elu(first(prototype))
            said[name] = factors[0] * scale(shared), factors[1] * shift(shared)
        return said


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.last = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, " c"]) -> Float[Tensor, " c"]:
        out: Tensor = self.last(x + F.elu(self.inner(x)))
        return out
