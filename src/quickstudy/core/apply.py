"""Running a net purely: with given parameters, and with normalisation statistics that are passed, never stored.

A normalising layer must take its statistics from somewhere. Batch statistics of the query would let one query change
another's prediction; running averages would be state on the module. Here they are *measured on the support*, returned
by `apply`, kept in what `adapt` returns, and *given* again when queries are predicted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call

from quickstudy.core.precision import at_least_single
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import MethodError

__all__ = ["Grouping", "Moments", "Statistics", "Tape", "apply", "current_tape", "groups_by", "in_groups"]


class Moments(NamedTuple):
    """The mean and the (biased) variance of each channel."""

    mean: Float[Tensor, " d"]
    variance: Float[Tensor, " d"]


Statistics = tuple[Moments, ...]
"""What the normalising layers of a net measured, in the order in which they ran."""


class Tape:
    """What normalising layers see of the `apply` that they run in: measure and record, or take what is given."""

    def __init__(self, mask: Bool[Tensor, " n"] | None, given: Statistics | None) -> None:
        self.mask = mask
        self.measured: list[Moments] = []
        self._given = None if given is None else iter(given)

    def take(self) -> Moments | None:
        """The next layer's given statistics, or None where they are to be measured."""
        if self._given is None:
            return None
        try:
            return next(self._given)
        except StopIteration:
            raise MethodError(
                "a net met more normalising layers than it has statistics for: the statistics given to `apply` were "
                "measured by another net, or by another path through this one."
            ) from None

    def check_all_taken(self) -> None:
        """Raise `MethodError` if statistics were given that no layer took."""
        left = 0 if self._given is None else len(list(self._given))
        if left:
            raise MethodError(
                f"a net left {left} of the statistics that it was given untaken: the statistics given to `apply` were "
                "measured by another net, or by another path through this one."
            )


class Grouping(ABC):
    """How a kind of net takes groups of inputs at once, each with statistics of its own, without gradients."""

    @abstractmethod
    def suits(self, net: Any, x: Shaped[Tensor, "n *item"], statistics: Statistics | None) -> bool:
        """Whether it can do so with this net, inputs like these of a group, and these statistics."""

    @abstractmethod
    def of_groups(
        self, net: Any, x: Shaped[Tensor, "g n *item"], mask: Bool[Tensor, "g n"] | None, statistics: Statistics | None
    ) -> tuple[Float[Tensor, "g n d"], Statistics]:
        """What `apply` gives of each group, with a leading axis of groups throughout."""


Take = Callable[[Tensor, Tensor | None, Sequence[Tensor]], tuple[Tensor, ...]]

_groupings: dict[type[nn.Module], Grouping] = {}
_tape: ContextVar[Tape | None] = ContextVar("tape", default=None)
_in_groups: ContextVar[bool] = ContextVar("in_groups", default=False)


def current_tape() -> Tape | None:
    """The tape of the `apply` that is running, if any; for authors of normalising layers."""
    return _tape.get()


@contextmanager
def _recording(tape: Tape) -> Iterator[None]:
    token = _tape.set(tape)
    try:
        yield
    finally:
        _tape.reset(token)


def groups_by(kind: type[nn.Module], grouping: Grouping) -> None:
    """Say how nets of a kind take groups of inputs at once."""
    _groupings[kind] = grouping


@contextmanager
def in_groups() -> Iterator[None]:
    """Have nets that can take the inputs of all tasks that are mapped together at once, where no gradient is asked for.

    What comes out is the same but for rounding.
    """
    token = _in_groups.set(True)
    try:
        yield
    finally:
        _in_groups.reset(token)


def apply(
    net: nn.Module,
    params: Mapping[str, Tensor] | None,
    x: Shaped[Tensor, "n *item"],
    *,
    mask: Bool[Tensor, " n"] | None = None,
    statistics: Statistics | None = None,
) -> tuple[Tensor, Statistics]:
    """The output of `net` for `x`, and the normalisation statistics it was computed with.

    The output is in single precision at least, also where autocast has the net compute in half.

    Args:
        net: Any module whose normalising layers are `quickstudy.nets.Norm` (or that has none).
        params: Tensors to use in place of the net's own parameters of the same names; None keeps its own.
        x: One task's inputs.
        mask: Which inputs count when statistics are measured; None means all. Not used when they are given.
        statistics: What an earlier `apply` returned, to normalise with; None measures them on `x`.

    Raises:
        MethodError: the statistics given are not as many as the net's normalising layers.
    """
    if params is None and _in_groups.get() and (grouping := _grouping(net, x, statistics)) is not None:
        return _grouped(grouping, net, x, mask, statistics)
    tape = Tape(mask, statistics)
    with _recording(tape):
        out = net(x) if params is None else functional_call(net, dict(params), (x,))
    tape.check_all_taken()
    return at_least_single(out), tuple(tape.measured) if statistics is None else statistics


def _grouping(net: nn.Module, x: Tensor, statistics: Statistics | None) -> Grouping | None:
    """How this net takes groups, where it can and one level of `vmap` at most is at work."""
    found = _groupings.get(type(net))
    if found is None or torch.is_grad_enabled() or (torch._C._functorch.maybe_current_level() or 0) > 1:
        return None
    return found if found.suits(net, x, statistics) else None


def _grouped(
    grouping: Grouping, net: nn.Module, x: Tensor, mask: Tensor | None, statistics: Statistics | None
) -> tuple[Tensor, Statistics]:
    given = () if statistics is None else (leaf for moments in statistics for leaf in moments)
    out, *measured = _Groups.apply(partial(_of_groups, grouping, net), x, mask, *given)  # type: ignore[no-untyped-call]
    return at_least_single(out), _paired(measured) if statistics is None else statistics


def _of_groups(
    grouping: Grouping, net: nn.Module, x: Tensor, mask: Tensor | None, given: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    out, found = grouping.of_groups(net, x, mask, _paired(given) if given else None)
    return (out,) if given else (out, *(leaf for moments in found for leaf in moments))


def _paired(leaves: Sequence[Tensor]) -> Statistics:
    return tuple(Moments(*each) for each in zip(leaves[::2], leaves[1::2], strict=True))


class _Groups(torch.autograd.Function):
    """`_of_groups` as `vmap` finds it: the axis that it maps over is that of groups."""

    @staticmethod
    def forward(take: Take, x: Tensor, mask: Tensor | None, *given: Tensor) -> tuple[Tensor, ...]:
        leaves = take(x[None], None if mask is None else mask[None], [leaf[None] for leaf in given])
        return tuple(leaf[0] for leaf in leaves)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: there is no way back."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, take: Take, x: Tensor, mask: Tensor | None, *given: Tensor) -> Any:
        def first(leaf: Tensor, dim: int | None) -> Tensor:
            return leaf.expand(info.batch_size, *leaf.shape) if dim is None else leaf.movedim(dim, 0)

        _, of_x, of_mask, *of_given = in_dims
        masks = None if mask is None else first(mask, of_mask)
        made = take(first(x, of_x), masks, [first(leaf, dim) for leaf, dim in zip(given, of_given, strict=True)])
        return made, (0,) * len(made)
