"""Running a net purely: with given parameters, and with normalisation statistics that are passed, never stored.

A normalising layer must take its statistics from somewhere. Batch statistics of the query would let one query change
another's prediction; running averages would be state on the module. Here they are *measured on the support*, returned
by `apply`, kept in what `adapt` returns, and *given* again when queries are predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from torch import nn
from torch.func import functional_call

from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import MethodError

__all__ = ["Moments", "Statistics", "Tape", "apply", "current_tape"]


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


_tape: ContextVar[Tape | None] = ContextVar("tape", default=None)


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


def apply(
    net: nn.Module,
    params: Mapping[str, Tensor] | None,
    x: Shaped[Tensor, "n *item"],
    *,
    mask: Bool[Tensor, " n"] | None = None,
    statistics: Statistics | None = None,
) -> tuple[Tensor, Statistics]:
    """The output of `net` for `x`, and the normalisation statistics it was computed with.

    Args:
        net: Any module whose normalising layers are `quickstudy.nets.Norm` (or that has none).
        params: Tensors to use in place of the net's own parameters of the same names; None keeps its own.
        x: One task's inputs.
        mask: Which inputs count when statistics are measured; None means all. Not used when they are given.
        statistics: What an earlier `apply` returned, to normalise with; None measures them on `x`.

    Raises:
        MethodError: the statistics given are not as many as the net's normalising layers.
    """
    tape = Tape(mask, statistics)
    with _recording(tape):
        out = net(x) if params is None else functional_call(net, dict(params), (x,))
    tape.check_all_taken()
    return out, tuple(tape.measured) if statistics is None else statistics
