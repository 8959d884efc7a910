"""What autocast leaves in half precision, and what must not be computed in it."""

from __future__ import annotations

import torch

from quickstudy.core.shapes import Tensor

__all__ = ["at_least_single", "in_own_precision"]


def at_least_single(x: Tensor) -> Tensor:
    """The same numbers, in single precision where they are in half: sums and differences of them are worth more."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def in_own_precision(x: Tensor) -> torch.autocast:
    """A block in which autocast narrows nothing on the device of `x`.

    Solutions of equations in bfloat16 would be none, and distances of embeddings would differ by less than they round.
    """
    return torch.autocast(x.device.type, enabled=False)
