"""What autocast leaves in half precision, and what must not be computed in it."""

from __future__ import annotations

import torch
from torch import nn

from quickstudy.core.shapes import Tensor

__all__ = ["at_least_single", "in_own_precision", "said_by"]


def at_least_single(x: Tensor) -> Tensor:
    """The same numbers, in single precision where they are in half: sums and differences of them are worth more."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def in_own_precision(x: Tensor) -> torch.autocast:
    """A block in which autocast narrows nothing on the device of `x`.

    Solutions of equations in bfloat16 would be none, and distances of embeddings would differ by less than they round.
    """
    return torch.autocast(x.device.type, enabled=False)


def said_by(layers: nn.Sequential, x: Tensor) -> Tensor:
    """What layers say of `x`, the last of them in its own precision whatever autocast does to the others.

    Where one net says a number of each class and only differences count, a number that all share is free to grow. In
    bfloat16 it does: the slopes of a softmax no longer add up to 0, and while there is little else to learn, what is
    left over moves all weights the same way at every step, until no difference between classes is left.
    """
    hidden = layers[:-1](x)
    with in_own_precision(x):
        said: Tensor = layers[-1](at_least_single(hidden))
    return said
