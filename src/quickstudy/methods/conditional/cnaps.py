"""CNAPs and Simple CNAPs: a set encoder modulates the net, and class means become the head."""

from __future__ import annotations

import copy
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import QueryScored
from quickstudy.core.precision import in_own_precision
from quickstudy.core.predictions import Categorical
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.metric.protonet import class_means
from quickstudy.methods.metric.tadam import TaskEmbedding
from quickstudy.nets.film import Modulation, modulated, places
from quickstudy.nets.net import width_of

__all__ = ["CNAPs", "Linear", "Mahalanobis", "Specialised"]


class Linear(NamedTuple):
    """A head as CNAPs writes it."""

    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, " k"]


class Mahalanobis(NamedTuple):
    """A head as Simple CNAPs estimates it."""

    means: Float[Tensor, "k d"]
    precision: Float[Tensor, "k d d"]


class Specialised(NamedTuple):
    """What CNAPs learns of a task."""

    head: Linear | Mahalanobis
    present: Bool[Tensor, " k"]
    modulation: Modulation
    statistics: Statistics


class CNAPs(QueryScored):
    """Modulate a net by the support, and make its class means a linear head (Requeima et al. 2019, "CNAPs").

    Meta-learned: the net, the set encoder, what makes its code a modulation, and what makes class means weights.
    Adapts by: scaling and shifting the net's channels as the mean code of the support says; averaging each class's
    support in the net so modulated; and writing that class's weights and bias from its mean.
    Scored by: the query's cross-entropy, + `penalty` · the squares of the factors through which the code has its say.

    With `head="mahalanobis"` it is Simple CNAPs (Bateni et al. 2020): nothing is written, and a query's logit is minus
    half of its squared distance from the class mean, under the covariance λΣ(class) + (1 - λ)Σ(task) + βI with
    λ = n / (n + 1) for n examples of the class (equations 2 and 3).

    The papers' net is frozen, trained beforehand on ImageNet; here it is learned along unless `frozen`. The set encoder
    is a net like it, with weights of its own. Their autoregressive summaries of earlier layers are left out. A net that
    normalises nothing is modulated at all its layers, one without weights not at all.

    Args:
        net: The features.
        head: How class means predict: "linear" weights that are written, or "mahalanobis" distances.
        ridge: The β that is added to the covariance; for mahalanobis.
        frozen: Whether the net keeps the weights it was given.
        penalty: Weight of the squared factors.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        head: Literal["linear", "mahalanobis"] = "linear",
        ridge: Annotated[float, Field(gt=0)] = 1.0,
        frozen: bool = False,
        penalty: Annotated[float, Field(ge=0)] = 0.001,
    ) -> None:
        super().__init__()
        features = width_of(net)
        self.encoder = copy.deepcopy(net)
        self.net = net.requires_grad_(not frozen)
        self.embedding = TaskEmbedding(features, places(net))
        self.writer = _Writer(features) if head == "linear" else None
        self.ridge, self.penalty = ridge, penalty

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        return super().meta_loss(episode) + self.penalty * self.embedding.factors.square().sum()

    def adapt(self, support: Examples, *noise: Tensor) -> Specialised:
        modulation: Modulation = {}
        if self.embedding.places:
            codes, _ = apply(self.encoder, None, support.x, mask=support.mask)
            counted = support.mask.sum().clamp(min=1)
            modulation = self.embedding(torch.where(support.mask[:, None], codes, 0.0).sum(0) / counted)
        z, statistics = apply(self.net, modulated(self.net, modulation), support.x, mask=support.mask)
        if self.writer is None:
            head, present = self._fitted(z, support)
        else:
            means, present = class_means(z, support)
            head = self.writer(means)
        return Specialised(head, present, modulation, statistics)

    def predict(self, learner: Specialised, x: Shaped[Tensor, "n *item"]) -> Categorical:
        z, _ = apply(self.net, modulated(self.net, learner.modulation), x, statistics=learner.statistics)
        if isinstance(learner.head, Linear):
            logits = F.linear(z, learner.head.weight, learner.head.bias)
        else:
            with in_own_precision(z):
                apart = z[:, None] - learner.head.means
                logits = -0.5 * torch.einsum("nkd,kde,nke->nk", apart, learner.head.precision, apart)
        # A class without support has no mean and is never predicted.
        return Categorical.among(learner.present, logits)

    def _fitted(self, z: Float[Tensor, "n d"], support: Examples) -> tuple[Mahalanobis, Bool[Tensor, " k"]]:
        member = (support.y.to(z.dtype) * support.mask.to(z.dtype)[:, None]).T
        with in_own_precision(z):
            means, present = class_means(z, support)
            of_class = covariances(z, member)
            of_task = covariances(z, support.mask.to(z.dtype)[None])
            count = member.sum(1)[:, None, None]
            share = count / (count + 1)
            unit = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
            factor = torch.linalg.cholesky(share * of_class + (1 - share) * of_task + self.ridge * unit)
            return Mahalanobis(means, torch.cholesky_solve(unit.expand_as(factor), factor)), present


def covariances(z: Float[Tensor, "n d"], member: Float[Tensor, "k n"]) -> Float[Tensor, "k d d"]:
    """The sample covariance of each group's members, over one less than their number; zeros for fewer than two."""
    count = member.sum(1)
    z = torch.where(member.sum(0)[:, None] > 0, z, 0.0)
    mean = member @ z / count.clamp(min=1)[:, None]
    apart = (z - mean[:, None]) * member[:, :, None]
    return apart.transpose(1, 2) @ apart / (count - 1).clamp(min=1)[:, None, None]


class _Writer(nn.Module):
    """From a class mean to its weights and bias: three layers each; those of weights are added to the mean."""

    def __init__(self, features: int) -> None:
        super().__init__()

        def layers(out: int) -> nn.Sequential:
            inner = [nn.Linear(features, features), nn.ELU(), nn.Linear(features, features), nn.ELU()]
            return nn.Sequential(*inner, nn.Linear(features, out))

        self.weight, self.bias = layers(features), layers(1)

    def forward(self, means: Float[Tensor, "k d"]) -> Linear:
        return Linear(means + self.weight(means), self.bias(means)[:, 0])
