"""Exact Gaussian processes, small and mapped: what is said of a few values that are jointly normal.

Rows that are padding have no say: in the covariance they are independent of everything else, their residual is 0, and
what a factor of the identity adds to a likelihood is nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from quickstudy.core.precision import in_own_precision
from quickstudy.core.shapes import Bool, Float, Tensor

__all__ = ["Fit", "fit", "log_marginal", "posterior"]

JITTER = 100
"""What is added to the diagonal besides the noise, in units of rounding: 1e-5 of the mean variance in float32."""


class Fit(NamedTuple):
    """A Gaussian process that has seen some values: of `v` independent functions with one covariance."""

    factor: Float[Tensor, "n n"]
    """The lower triangular L with L Lᵀ = K + noise · I."""
    weights: Float[Tensor, "n v"]
    """(K + noise · I)⁻¹ y."""
    residual: Float[Tensor, "n v"]
    """y: the values without their prior mean."""
    mask: Bool[Tensor, " n"]


def fit(
    covariance: Float[Tensor, "n n"],
    residual: Float[Tensor, "n v"],
    noise: Tensor | float,
    mask: Bool[Tensor, " n"],
) -> Fit:
    """See noisy values (Rasmussen and Williams 2006, algorithm 2.1, lines 2 and 3).

    Args:
        covariance: K, of the noiseless values.
        residual: What was seen, without the prior mean.
        noise: The variance of the noise, above 0.
        mask: False where a row is only padding.
    """
    with in_own_precision(covariance):
        n, dtype, device = len(mask), covariance.dtype, covariance.device
        identity = torch.eye(n, dtype=dtype, device=device)
        both = mask[:, None] & mask
        count = mask.sum().clamp(min=1)
        mean_variance = torch.where(mask, covariance.diagonal(), 0.0).sum() / count
        added = noise + JITTER * torch.finfo(dtype).eps * mean_variance.detach()
        seen = torch.where(both, covariance + added * identity, identity)
        factor = torch.linalg.cholesky(seen)
        residual = torch.where(mask[:, None], residual, 0.0)
        return Fit(factor, torch.cholesky_solve(residual, factor), residual, mask)


def log_marginal(fitted: Fit) -> Float[Tensor, " v"]:
    """The log-density of what was seen, in nats, for each function (algorithm 2.1, line 7)."""
    quadratic = (fitted.residual * fitted.weights).sum(0)
    count = fitted.mask.to(quadratic.dtype).sum()
    return -0.5 * quadratic - fitted.factor.diagonal().log().sum() - 0.5 * math.log(2 * math.pi) * count


def posterior(
    fitted: Fit, cross: Float[Tensor, "q n"], variance: Float[Tensor, " q"]
) -> tuple[Float[Tensor, "q v"], Float[Tensor, " q"]]:
    """The mean (without the prior mean) and the variance of noiseless values elsewhere (lines 4 to 6).

    Args:
        fitted: What was seen.
        cross: Covariances of the values asked for with those seen.
        variance: Prior variances of the values asked for.
    """
    with in_own_precision(cross):
        cross = torch.where(fitted.mask, cross, 0.0)
        explained = torch.linalg.solve_triangular(fitted.factor, cross.T, upper=False).square().sum(0)
        return cross @ fitted.weights, (variance - explained).clamp(min=0.0)
