"""Max-pooling by 2: torch's own, or in the form that compiles well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.shapes import Float, Tensor

__all__ = ["MaxPool", "by_comparisons", "max_pooled"]

_comparing: ContextVar[bool] = ContextVar("comparing", default=False)


@contextmanager
def by_comparisons() -> Iterator[None]:
    """Within this, maps on a CPU are pooled by comparisons: for graphs that are to be compiled.

    A compiler looks the indices of torch's own pooling up one by one, which took a third of a compiled step;
    comparisons it makes a part of the passes before and after. Taken one after the other they are the slower form.
    """
    token = _comparing.set(True)
    try:
        yield
    finally:
        _comparing.reset(token)


def max_pooled(maps: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h2 w2"]:
    """The largest of every square of four; of equal ones the first has the gradient. An odd edge is left out."""
    if not _comparing.get() or maps.device.type != "cpu":
        return F.max_pool2d(maps, 2)
    largest: Tensor = _Largest.apply(maps)[0]  # type: ignore[no-untyped-call]
    return largest


class MaxPool(nn.Module):
    """`max_pooled`, as a layer."""

    def forward(self, maps: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h2 w2"]:
        return max_pooled(maps)


class _Largest(torch.autograd.Function):
    """The largest of every square, and which it is: whether its second beats its first, its fourth its third, and its
    lower half its upper."""

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor) -> tuple[Tensor, ...]:
        first, second, third, fourth = _corners(maps)
        upper, lower = torch.maximum(first, second), torch.maximum(third, fourth)
        return torch.maximum(upper, lower), second > first, fourth > third, lower > upper

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.sizes = inputs[0].shape[-2:]
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Any) -> Tensor:
        spread: Tensor = _Spread.apply(slope, *ctx.saved_tensors, ctx.sizes)  # type: ignore[no-untyped-call]
        return spread


class _ByMasks(torch.autograd.Function):
    """Linear in numbers, given the masks of squares and the sizes of the maps."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.sizes = inputs[-1]
        ctx.save_for_backward(*inputs[1:4])


class _Spread(_ByMasks):
    """Maps that hold each number where its square's largest was, and nothing elsewhere; `_Picked` is its transpose."""

    @staticmethod
    def forward(values: Tensor, right: Tensor, right_below: Tensor, below: Tensor, sizes: tuple[int, int]) -> Tensor:
        nothing = torch.zeros((), dtype=values.dtype, device=values.device)
        squares = [[~below & ~right, ~below & right], [below & ~right_below, below & right_below]]
        found = [[torch.where(mask, values, nothing).movedim(1, -1) for mask in row] for row in squares]
        rows = [torch.stack(row, 3) for row in found]
        maps = torch.stack(rows, 2)  # [n, h/2, 2, w/2, 2, d]: channels last in memory
        maps = maps.flatten(3, 4).flatten(1, 2).movedim(-1, 1)
        return F.pad(maps, (0, sizes[1] % 2, 0, sizes[0] % 2))

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        return _Picked.apply(slope, *ctx.saved_tensors, ctx.sizes), None, None, None, None  # type: ignore[no-untyped-call]


class _Picked(_ByMasks):
    """The numbers where each square's largest was."""

    @staticmethod
    def forward(maps: Tensor, right: Tensor, right_below: Tensor, below: Tensor, sizes: tuple[int, int]) -> Tensor:
        first, second, third, fourth = _corners(maps)
        return torch.where(below, torch.where(right_below, fourth, third), torch.where(right, second, first))

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        return _Spread.apply(slope, *ctx.saved_tensors, ctx.sizes), None, None, None, None  # type: ignore[no-untyped-call]


def _corners(maps: Tensor) -> list[Tensor]:
    """The first, second, third and fourth of every square of four, row by row."""
    height, width = maps.shape[-2] // 2 * 2, maps.shape[-1] // 2 * 2
    return [maps[..., i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
