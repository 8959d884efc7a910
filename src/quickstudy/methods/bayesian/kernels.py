"""Covariances of functions of features, with the numbers that are learned in them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.shapes import Float, Tensor

__all__ = ["Covariance", "Kernel", "make_kernel"]

Kernel = Literal["cosine", "rbf", "spectral"]
"""How alike two functions' values are, by their features: scale · cos(a, b); scale · exp(-½ ‖a - b‖² / length²); or the
spectral mixture of Wilson and Adams (2013)."""


class Covariance(nn.Module, ABC):
    """A covariance function of features."""

    @abstractmethod
    def forward(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """The covariances of the values at `a` with those at `b`."""

    @abstractmethod
    def variance(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The variances of the values at `a`."""


class Cosine(Covariance):
    """The cosine between features, times a learned scale that starts at 1: a linear kernel on the unit sphere."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return self.log_scale.exp() * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T

    def variance(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return self.log_scale.exp() * F.normalize(a, dim=-1).square().sum(-1)


class RBF(Covariance):
    """Squared-exponential, with a learned scale and a learned length that starts at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.log_length = nn.Parameter(torch.zeros(()))

    def forward(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        # by differences: the expanded square would lose what two near points differ by
        apart = (a[:, None] - b).square().sum(-1)
        return self.log_scale.exp() * torch.exp(-0.5 * apart * torch.exp(-2 * self.log_length))

    def variance(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return self.log_scale.exp().expand(len(a))


class Spectral(Covariance):
    """Σᵢ wᵢ Πₖ exp(-2π² τₖ² vᵢₖ) cos(2π τₖ μᵢₖ), with τ the difference of features (Wilson and Adams 2013).

    GPyTorch's, which the authors of DKT used, multiplies over the features what is summed over the components.
    Frequencies start at random, so that components differ, and small, so that features some units apart are alike.
    """

    def __init__(self, features: int, mixtures: int) -> None:
        super().__init__()
        small = 0.5 / math.sqrt(features)
        self.log_weight = nn.Parameter(torch.full((mixtures,), -math.log(mixtures)))
        self.frequency = nn.Parameter(small * torch.randn(mixtures, features))
        self.log_width = nn.Parameter(torch.full((mixtures, features), math.log(0.2 * small)))

    def forward(self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        apart = a[:, None, None] - b[:, None]
        decay = -2 * math.pi**2 * (apart * self.log_width.exp()).square().sum(-1)
        waves = torch.cos(2 * math.pi * apart * self.frequency).prod(-1)
        return (decay.exp() * waves) @ self.log_weight.exp()

    def variance(self, a: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return self.log_weight.exp().sum().expand(len(a))


def make_kernel(kind: Kernel, features: int, mixtures: int) -> Covariance:
    """The covariance of that name, as it starts."""
    match kind:
        case "cosine":
            return Cosine()
        case "rbf":
            return RBF()
        case "spectral":
            return Spectral(features, mixtures)
