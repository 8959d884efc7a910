"""Meta-Curvature: slopes turned by learned matrices before they become steps."""

from __future__ import annotations

from typing import Any

import torch

from quickstudy.core.settings import Rate, Size, settings
from quickstudy.core.shapes import Tensor
from quickstudy.inner.rules import Params, Rule

__all__ = ["MetaCurvature"]


@settings
class MetaCurvature(Rule):
    """Gradient descent with the slope multiplied by learned matrices along each of its axes (Park and Oliva 2019).

    A convolution's slope G [out, in, ...] becomes G ×₁ M_o ×₂ M_i ×₃ M_f, the last over the places of its filter; a
    linear layer's has no third, a bias only the first (equations 6 to 8). The matrices start as identities. Axes longer
    than `largest` are scaled element by element, so that wide heads do not cost the square of their width.
    """

    rate: Rate = 0.1
    """Step size."""
    largest: Size = 512
    """The longest axis that has a whole matrix."""

    def learned(self, params: Params) -> Params:
        return {
            f"{name}.axis{axis}": self._identity(leaf, size)
            for name, leaf in params.items()
            for axis, size in enumerate(_axes(leaf))
        }

    def step(self, params: Params, slope: Params, state: Any, learned: Params) -> tuple[Params, Any]:
        return {name: params[name] - self.rate * _turned(name, slope[name], learned) for name in params}, state

    def _identity(self, leaf: Tensor, size: int) -> Tensor:
        one = leaf.detach().new_ones(size)
        return torch.diag(one) if size <= self.largest else one


def _axes(leaf: Tensor) -> tuple[int, ...]:
    """The sizes of a weight's axes, those of a filter's places taken as one."""
    return tuple(leaf.flatten(2).shape if leaf.ndim > 2 else leaf.shape)


def _turned(name: str, slope: Tensor, learned: Params) -> Tensor:
    turned = slope.reshape(_axes(slope))
    for axis in range(turned.ndim):
        matrix = learned[f"{name}.axis{axis}"]
        last = turned.movedim(axis, -1)
        # one factor serves an axis of any length: the row of a tied head becomes as many as there are classes
        whole = matrix.ndim == 2 and len(matrix) > 1
        turned = (last @ matrix.T if whole else last * matrix.flatten()).movedim(-1, axis)
    return turned.reshape(slope.shape)
