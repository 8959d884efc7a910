"""Networks that tell each class from the rest, by a pass of its own."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F

from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner
from quickstudy.core.predictions import Categorical
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor

__all__ = ["TOGETHER", "AgainstRest", "Scale", "moments", "targets"]

LEAST = 1e-30
"""Of a column's variance, so that nothing is divided by 0."""
TOGETHER = 16
"""Columns in which all pairs of rows are compared at a time: memory is so many times that of the pairs."""


class AgainstRest(MetaLearner):
    """A network that says how likely each class is against the rest; what it says is scaled to add up to one.

    So classes have no order, and there can be any number. Of two classes training takes one pass, for the second:
    either says all.
    """

    @abstractmethod
    def read(self, support: Examples, y: Shaped[Tensor, "n k"]) -> Any:
        """What is known of the support, by classes `y`."""

    @abstractmethod
    def ask(self, learner: Any, x: Shaped[Tensor, "n *item"]) -> Float[Tensor, "k n"]:
        """The log-odds of each class against the rest."""

    def adapt(self, support: Examples, *noise: Tensor) -> Any:
        return self.read(support, support.y)

    def predict(self, learner: Any, x: Shaped[Tensor, "n *item"]) -> Categorical:
        return Categorical(F.logsigmoid(self.ask(learner, x)).T)

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        support, query = episode
        first = 1 if support.y.shape[1] == 2 else 0
        said = self.ask(self.read(support, support.y[:, first:]), query.x)
        truth = query.y[:, first:].to(said.dtype).T
        each = F.binary_cross_entropy_with_logits(said, truth, reduction="none").sum(0)
        return masked_mean(each, query.mask)


class Scale:
    """Where values lie in their columns: how far from the mean by the deviation, and their rank among the rows.

    Args:
        x: Training rows.
        mask: Which of them count.
    """

    def __init__(self, x: Float[Tensor, "n c"], mask: Bool[Tensor, " n"]) -> None:
        self.mask, self.counted = mask, mask.to(x.dtype)
        self.x = torch.where(mask[:, None], x, 0.0)
        most, least = (torch.where(mask[:, None], sign * x, -torch.inf).amax(0) for sign in (1, -1))
        self.used = most > -least
        self.mean, variance = moments(self.x, self.counted)
        self.deviation = variance.clamp(min=LEAST).sqrt()

    @property
    def size(self) -> Float[Tensor, "2"]:
        """How many rows and columns there are: a fifth of the logarithm of each."""
        return torch.stack([self.counted.sum(), self.used.sum().to(self.x.dtype)]).clamp(min=1).log() / 5

    @property
    def alike(self) -> Float[Tensor, " c"]:
        """The weight of each column where all that are used weigh the same, and together 1."""
        used = self.used.to(self.x.dtype)
        return used / used.sum().clamp(min=1)

    def apart(self, x: Float[Tensor, "m c"]) -> Float[Tensor, "m c"]:
        """Deviations from the mean, large ones by their logarithm; 0 in columns of one value."""
        return torch.where(self.used, torch.asinh((x - self.mean) / self.deviation), 0.0)

    def rank(self, x: Float[Tensor, "m c"]) -> Float[Tensor, "m c"]:
        """The share of the training rows below, equal ones by half; ½ in columns of one value."""
        parts = []
        for asked, known in zip(torch.split(x, TOGETHER, 1), torch.split(self.x, TOGETHER, 1), strict=True):
            parts.append(torch.einsum("mnc,n->mc", torch.sign(asked[:, None] - known), self.counted))
        share = 0.5 + 0.5 * torch.cat(parts, 1) / self.counted.sum().clamp(min=1)
        return torch.where(self.used, share, 0.5)


def targets(y: Shaped[Tensor, "n k"], scale: Scale) -> Float[Tensor, "k n"]:
    """What each class is told by: 1 for its rows, -1 for those of others, 0 for rows that do not count."""
    return torch.where(scale.mask[:, None], 2 * y.to(scale.x.dtype) - 1, 0.0).T


def moments(x: Float[Tensor, "n c"], counted: Float[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    """The mean and the variance of each column, over the rows that count."""
    number = counted.sum().clamp(min=1)
    mean = (counted[:, None] * x).sum(0) / number
    return mean, (counted[:, None] * (x - mean).square()).sum(0) / number
