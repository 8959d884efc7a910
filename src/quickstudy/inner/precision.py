"""The precision in which something is computed, to compute it in again: what was saved on the way there is in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch

from quickstudy.core.shapes import Tensor

__all__ = ["Precision"]


class Precision:
    """What autocast does now, on the devices of some tensors.

    Args:
        tensors: The tensors.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        kinds = sorted({tensor.device.type for tensor in tensors})
        self._of = [(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in kinds]

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """The same within this block."""
        with contextlib.ExitStack() as stack:
            for kind, dtype, enabled in self._of:
                stack.enter_context(torch.autocast(kind, dtype, enabled=enabled))
            yield
