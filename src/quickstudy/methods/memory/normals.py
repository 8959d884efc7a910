"""Real values predicted by a few normal distributions, weighted anew for each value."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal, NamedTuple

import torch

from quickstudy.core.predictions import bisected
from quickstudy.core.shapes import Float, Tensor

__all__ = ["Normals"]


class Normals(NamedTuple):
    """A mixture of normal distributions for each target, with weights of its own (Bishop 1994).

    `Mixture` is of whole predictions, which weigh the same in every example; here each value of each example has
    weights, given by unnormalised logarithms.
    """

    logits: Float[Tensor, "n *out m"]
    means: Float[Tensor, "n *out m"]
    stds: Float[Tensor, "n *out m"]

    @property
    def metric(self) -> Literal["mse"]:
        return "mse"

    @property
    def mean(self) -> Float[Tensor, "n *out"]:
        found: Tensor = (self._p() * self.means).sum(-1)
        return found

    @property
    def std(self) -> Float[Tensor, "n *out"]:
        """Of the whole: what the parts are unsure of, and how far they are apart."""
        apart = self.means - self.mean[..., None]
        found: Tensor = (self._p() * (self.stds.square() + apart.square())).sum(-1).sqrt()
        return found

    def nll(self, y: Float[Tensor, "n *out"]) -> Float[Tensor, " n"]:
        z = (y[..., None] - self.means) / self.stds
        each = -0.5 * z.square() - self.stds.log() - 0.5 * math.log(2 * math.pi)
        return -torch.logsumexp(self.logits.log_softmax(-1) + each, -1).flatten(1).sum(-1)

    def score(self, y: Float[Tensor, "n *out"]) -> Float[Tensor, " n"]:
        return (y - self.mean).square().flatten(1).mean(-1)

    def cdf(self, y: Float[Tensor, "n *out"]) -> Float[Tensor, "n *out"]:
        """The probability of each target below `y`."""
        below: Tensor = (self._p() * torch.special.ndtr((y[..., None] - self.means) / self.stds)).sum(-1)
        return below

    def quantile(self, p: float) -> Float[Tensor, "n *out"]:
        """The value below which each target lies with probability `p` (above 0, below 1), by bisection."""
        each = self.means + NormalDist().inv_cdf(p) * self.stds
        return bisected(self.cdf, p, each.amin(-1), each.amax(-1))

    def tempered(self, temperature: float) -> Normals:
        """Each part wider where it is above 1."""
        return self._replace(stds=temperature * self.stds)

    def _p(self) -> Float[Tensor, "n *out m"]:
        return self.logits.softmax(-1)
