"""Ridge regression as the head of a learned embedding."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.precision import in_own_precision
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.settings import Rate
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.metric.ridge import ridge

__all__ = ["R2D2", "Ridge"]


class Ridge(NamedTuple):
    """What ridge regression learns of a task."""

    weight: Float[Tensor, "d k"]
    present: Bool[Tensor, " k"]
    statistics: Statistics


class R2D2(QueryScored):
    """Fit a ridge regression to the support's embeddings, in closed form (Bertinetto et al. 2019, "R2-D2").

    Meta-learned: the embedding net, the penalty λ and the scale α of the logits.
    Adapts by: W = Xᵀ(XXᵀ + λI)⁻¹Y, with a row of X an embedding and a row of Y its one-hot class (equations 5 and 6).
    Scored by: cross-entropy of αXW on the query (equation 7; its shift β is the same for all classes and drops out).

    With real values for Y it is ridge regression itself, on learned features.

    Args:
        net: The embedding.
        penalty: Where λ starts. It is learned as its logarithm, so it stays positive.
        scale: Where α starts; learned likewise.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values, which are not scaled: α is 1.
    """

    tags = Tags(regression=True)

    def __init__(
        self, net: nn.Module, *, penalty: Rate = 1.0, scale: Rate = 10.0, likelihood: Likelihood = "categorical"
    ) -> None:
        super().__init__()
        self.net = net
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.log_scale: Tensor
        if likelihood == "categorical":
            self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        else:
            self.register_buffer("log_scale", torch.zeros(()))
        self.likelihood = likelihood

    def adapt(self, support: Examples, *noise: Tensor) -> Ridge:
        z, statistics = self._embed(support.x, mask=support.mask)
        counted = support.mask[:, None].to(z.dtype)
        x, y = z * counted, support.y.to(z.dtype) * counted  # a row of zeros asks nothing and changes nothing
        weight = ridge(x, y, self.log_penalty.exp())
        present = ((y != 0).any(0)) if self.likelihood == "categorical" else torch.ones_like(y[0], dtype=torch.bool)
        return Ridge(weight, present, statistics)

    def predict(self, learner: Ridge, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        z, _ = self._embed(x, statistics=learner.statistics)
        with in_own_precision(z):
            said = self.log_scale.exp() * (z @ learner.weight)
        # A class without support was fitted to nothing and is never predicted.
        return likelihood(self.likelihood, torch.where(learner.present, said, -torch.inf))

    def _embed(
        self, x: Tensor, mask: Tensor | None = None, statistics: Statistics | None = None
    ) -> tuple[Float[Tensor, "n d"], Statistics]:
        """Embeddings with a one at their end, for the regression's intercept."""
        z, found = apply(self.net, None, x, mask=mask, statistics=statistics)
        return torch.cat([z, z.new_ones(len(z), 1)], dim=1), found
