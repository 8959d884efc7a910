"""Ridge regression in closed form, over the examples rather than the features."""

from __future__ import annotations

import torch

from quickstudy.core.precision import in_own_precision
from quickstudy.core.shapes import Float, Tensor

__all__ = ["ridge"]


def ridge(x: Float[Tensor, "n d"], y: Float[Tensor, "n k"], penalty: Tensor | float) -> Float[Tensor, "d k"]:
    """The minimum over W of ‖XW - Y‖² + λ‖W‖², as Xᵀ(XXᵀ + λI)⁻¹Y (Bertinetto et al. 2019, equations 5 and 6).

    It factorises a matrix [n, n], which is the smaller one where examples are few. A row of zeros in X and in Y asks
    nothing and changes nothing. Under autocast it computes in the precision that it is given all the same.

    Args:
        x: X, the examples.
        y: Y, what they shall give.
        penalty: λ, above 0.
    """
    with in_own_precision(x):
        gram = x @ x.T + penalty * torch.eye(len(x), dtype=x.dtype, device=x.device)
        return x.T @ torch.cholesky_solve(y, torch.linalg.cholesky(gram))
