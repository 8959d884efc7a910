"""The dual of the multi-class support vector machine: solved by an interior point, differentiated at the solution."""

from __future__ import annotations

from typing import NamedTuple

import torch

from quickstudy.core.shapes import Bool, Float, Tensor

__all__ = ["multiclass_svm"]

ITERATIONS = 30
"""Newton steps; the duality gap shrinks tenfold in most of them."""
CENTRING = 0.1
"""The gap that a step aims at, as a share of the present one."""
GAP = 1e-10
"""The gap that is small enough, as a share of the bound: smaller ones drown in rounding."""
SHORT = 0.95
"""The share of the way to the nearest bound that a step may go."""


class _Problem(NamedTuple):
    one_hot: Float[Tensor, "n k"]
    counted: Bool[Tensor, "n k"]
    held: Float[Tensor, "n n"]
    """G as a constant."""
    bound: float


class _Point(NamedTuple):
    alpha: Float[Tensor, "n k"]
    price: Float[Tensor, "n k"]
    """The multipliers of the bounds: positive."""
    multiplier: Float[Tensor, " n"]
    """Those of the sums."""


def multiclass_svm(
    gram: Float[Tensor, "n n"], y: Float[Tensor, "n k"], counted: Bool[Tensor, "n k"], bound: float
) -> Float[Tensor, "n k"]:
    """The dual variables of the machine of Crammer and Singer (2001): the weights of class k are Σₙ αₙₖ xₙ.

    min over α of ½ Σₖ αₖᵀ G αₖ - Σₙₖ Yₙₖ αₙₖ with α ≤ C·Y and Σₖ αₙₖ = 0 for each n (Lee et al. 2019, equation 9). It
    is solved in float64 by a fixed number of primal-dual interior-point steps; the Hessian falls into one block a
    class, so that a step factorises k + 1 matrices [n, n] and never one [nk, nk]. The derivative is that of the
    implicit function theorem: one more Newton step whose matrix is a constant. It has no second derivative.

    Args:
        gram: G, the products of the examples.
        y: Y, one-hot.
        counted: Which variables there are; the others are 0 and have no say. An example has as many as there are
            classes, its own among them, or none.
        bound: C.
    """
    of = _Problem(torch.where(counted, y.double(), 0.0), counted, gram.detach().double(), bound)
    at = _start(of)
    size = counted.sum().clamp(min=1)
    for _ in range(ITERATIONS):
        slack = _slack(of, at)
        gap = torch.where(counted, at.price * slack, 0.0).sum() / size
        step = _newton(of, at, of.held, (CENTRING * gap).clamp(min=GAP * bound))
        length = torch.minimum(_room(slack, -step.alpha, counted), _room(at.price, step.price, counted))
        at = _Point(*(value + length * move for value, move in zip(at, step, strict=True)))
    last = _newton(of, at, gram.double(), torch.full_like(size, GAP * bound, dtype=torch.float64))
    return (at.alpha + last.alpha).to(gram.dtype)


def _start(of: _Problem) -> _Point:
    """Variables strictly inside their bounds, with rows that add up to 0."""
    ways = of.counted.sum(-1, keepdim=True).clamp(min=2)
    part = of.bound / (2 * ways)
    alpha = torch.where(of.counted, of.one_hot * ways * part - part, 0.0)
    return _Point(alpha, of.counted.double(), torch.zeros_like(alpha[:, 0]))


def _slack(of: _Problem, at: _Point) -> Float[Tensor, "n k"]:
    return torch.where(of.counted, of.bound * of.one_hot - at.alpha, 1.0)


def _newton(of: _Problem, at: _Point, gram: Float[Tensor, "n n"], aim: Float[Tensor, ""]) -> _Point:
    """The step that solves the linearised conditions of optimality, where prices times slacks shall be `aim`.

    The residuals are computed with `gram`, their matrix with the constant.
    """
    counted, slack = of.counted, _slack(of, at)
    rise = torch.where(counted, gram @ at.alpha - of.one_hot + aim / slack + at.multiplier[:, None], 0.0)
    both = counted.T[:, :, None] & counted.T[:, None, :]
    blocks = torch.where(both, of.held, 0.0) + torch.diag_embed(torch.where(counted, at.price / slack, 1.0).T)
    inverse = torch.where(both, torch.cholesky_inverse(torch.linalg.cholesky(blocks)), 0.0)
    towards = (inverse @ rise.T[:, :, None]).squeeze(-1)
    # An example that does not count has no multiplier; a one keeps its row solvable.
    none = torch.diag_embed((~counted.any(-1)).double())
    moved = torch.linalg.solve(inverse.sum(0) + none, at.alpha.sum(-1) - towards.sum(0))
    across = -(towards + (inverse @ moved[None, :, None]).squeeze(-1)).T
    prices = torch.where(counted, (aim + at.price * across) / slack - at.price, 0.0)
    return _Point(torch.where(counted, across, 0.0), prices, moved)


def _room(at: Float[Tensor, "n k"], move: Float[Tensor, "n k"], counted: Bool[Tensor, "n k"]) -> Float[Tensor, ""]:
    """How far one can go along `move` with everything staying positive: at most 1."""
    falls = counted & (move < 0)
    return torch.where(falls, SHORT * at / torch.where(falls, -move, 1.0), 1.0).amin()
