"""A stretch of an inner loop as one function, of which only the beginning is kept.

On the way back it is walked again, keeping what its own derivative needs. So an inner loop of n steps in √n stretches
keeps the parameters of 2√n steps at a time and not of n, and takes each slope twice (Chen et al. 2016, "Training deep
nets with sublinear memory cost", section 4.3, for the steps of an inner loop in place of layers).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from quickstudy.core import tree
from quickstudy.core.shapes import Tensor
from quickstudy.inner.precision import Precision

__all__ = ["stretch"]


def stretch(walk: Callable[..., Any], *values: Any) -> Any:
    """`walk(*values)`, to be walked again on the way back. It has a first derivative only, and does not map.

    Args:
        walk: A pure function of trees to a tree.
        values: Its arguments. What in them is no tensor is taken as it is.
    """
    flat, spec = tree.flatten(values)
    walked = _Walked(walk, flat, spec)
    ends = _Stretch.apply(walked, *(leaf for leaf in flat if isinstance(leaf, Tensor)))  # type: ignore[no-untyped-call]
    return walked.whole(ends)


class _Walked:
    """A walk as a function of the tensors among its arguments to those among its results."""

    def __init__(self, walk: Callable[..., Any], flat: Sequence[Any], spec: Any) -> None:
        self.walk, self.spec = walk, spec
        self.rest = [None if isinstance(leaf, Tensor) else leaf for leaf in flat]
        self.ends: list[Any] = []
        self.ends_spec: Any = None
        self.precision = Precision(leaf for leaf in flat if isinstance(leaf, Tensor))

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        found = self.walk(*tree.unflatten(_filled(self.rest, tensors), self.spec))
        flat, self.ends_spec = tree.flatten(found)
        self.ends = [None if isinstance(leaf, Tensor) else leaf for leaf in flat]
        return tuple(leaf for leaf in flat if isinstance(leaf, Tensor))

    def whole(self, tensors: Sequence[Tensor]) -> Any:
        """The tree of results of which these are the tensors."""
        return tree.unflatten(_filled(self.ends, tensors), self.ends_spec)


def _filled(rest: Sequence[Any], tensors: Sequence[Tensor]) -> list[Any]:
    given = iter(tensors)
    return [next(given) if leaf is None else leaf for leaf in rest]


class _Stretch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, walked: _Walked, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.walked = walked
        ctx.save_for_backward(*tensors)
        return walked(tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[1:]
        at = [
            leaf.detach().requires_grad_() if needs else leaf
            for leaf, needs in zip(ctx.saved_tensors, needed, strict=True)
        ]
        with torch.enable_grad(), ctx.walked.precision.again():
            ends = ctx.walked(at)
        moved = [(end, back) for end, back in zip(ends, cotangents, strict=True) if end.requires_grad]
        wanted = [leaf for leaf, needs in zip(at, needed, strict=True) if needs]
        found = iter(
            torch.autograd.grad([end for end, _ in moved], wanted, [back for _, back in moved], materialize_grads=True)
        )
        return None, *(next(found) if needs else None for needs in needed)
