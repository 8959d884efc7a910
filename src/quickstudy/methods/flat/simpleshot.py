"""Nearest centroid on the centred features of a conventionally trained net."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import apply
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Rate
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.methods.flat.pretrained import Pretrained
from quickstudy.methods.metric.protonet import Prototypes, class_means, squared_distances
from quickstudy.nets.net import width_of

__all__ = ["SimpleShot"]


class SimpleShot(Pretrained):
    """Nearest class mean on centred features of length 1 of a net trained as a classifier (Wang et al. 2019).

    Learned beforehand: the net, by ordinary classification over all training classes; and the mean of its features.
    Adapts by: averaging the transformed features of each class's support.
    Scored by: nothing of a task; training never sees an episode.

    The mean is a parameter that is pulled to the features of each batch, half their mean squared error being added to
    the loss. The net is not pulled to it.

    Args:
        net: The features.
        pool_outputs: Classes of the flat training pool.
        transform: Of the features before distances are taken: "centred" by the mean and of length 1 (the paper's CL2N),
            "unit" length alone (L2N), or "none" (UN).
        temperature: Divides the squared distances; the nearest stays the nearest.
    """

    estimated = "the mean of the features follows the net, and the net is not to follow the mean"

    def __init__(
        self,
        net: nn.Module,
        pool_outputs: int,
        *,
        transform: Literal["centred", "unit", "none"] = "centred",
        temperature: Rate = 0.1,
    ) -> None:
        super().__init__(net, pool_outputs)
        self.transform, self.temperature = transform, temperature
        self.centre = nn.Parameter(torch.zeros(width_of(net)))

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        batch = episode.query
        features, _ = apply(self.net, None, batch.x, mask=batch.mask)
        loss = masked_mean(Categorical(self.classify(features)).nll(batch.y), batch.mask)
        return loss + 0.5 * masked_mean((features.detach() - self.centre).square().mean(-1), batch.mask)

    def adapt(self, support: Examples, *noise: Tensor) -> Prototypes:
        z, statistics = apply(self.net, None, support.x, mask=support.mask)
        return Prototypes(*class_means(self._transformed(z), support), statistics)

    def predict(self, learner: Prototypes, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        closeness = -squared_distances(self._transformed(z), learner.means) / self.temperature
        # A class without support has no mean and is never predicted.
        return Categorical.among(learner.present, closeness)

    def _transformed(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        z = z - self.centre if self.transform == "centred" else z
        return z if self.transform == "none" else F.normalize(z, dim=-1)
