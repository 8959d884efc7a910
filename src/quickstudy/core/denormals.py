"""Numbers too small for the normal range, on which a processor takes a hundred times as long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["without_denormals"]


@contextmanager
def without_denormals() -> Iterator[None]:
    """Within it, this thread takes numbers below 1e-38 as 0, in float32; whoever calls keeps their own arithmetic.

    Where a loss is nearly gone (a start that explains its support, a sure softmax), slopes are of that size, and the
    backward pass of a convolution takes seventy times as long: `benchmarks/denormals.py`.
    """
    before = (torch.tensor(2e-39, dtype=torch.float32, device="cpu") * 0.5).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
