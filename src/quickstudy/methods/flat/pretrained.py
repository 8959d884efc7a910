"""The conventional training that these methods share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, masked_mean
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.nets.net import width_of

__all__ = ["Pretrained"]


class Pretrained(MetaLearner):
    """A net trained by cross-entropy over all classes of the flat pool, with a linear head that is then left out."""

    tags = Tags(trains_on="pool")

    def __init__(self, net: nn.Module, pool_outputs: int) -> None:
        super().__init__()
        self.net = net
        self.head = nn.Linear(width_of(net), pool_outputs)

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        batch = episode.query
        features, _ = apply(self.net, None, batch.x, mask=batch.mask)
        return masked_mean(Categorical(self.classify(features)).nll(batch.y), batch.mask)

    def classify(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """The logits of the pool's classes."""
        logits: Tensor = self.head(features)
        return logits

    def unit(
        self, x: Shaped[Tensor, "n *item"], mask: Bool[Tensor, " n"] | None = None, statistics: Statistics | None = None
    ) -> tuple[Float[Tensor, "n d"], Statistics]:
        """Features of length 1, and the statistics they were computed with."""
        z, found = apply(self.net, None, x, mask=mask, statistics=statistics)
        return F.normalize(z, dim=-1), found
