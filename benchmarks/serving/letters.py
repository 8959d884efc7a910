"""An encoder of texts that needs no model: how often each of the first letters stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from quickstudy.core.settings import settings
from quickstudy.core.shapes import Tensor
from quickstudy.encoders import Encoder

__all__ = ["Letters"]


@settings
class Letters(Encoder):
    """Counts of the letters from a to h."""

    kind: ClassVar[Any] = "text"
    item: tuple[int, ...] = (8,)

    def encode(self, raw: Sequence[Any]) -> Tensor:
        return torch.tensor([[float(text.lower().count(each)) for each in "abcdefgh"] for text in raw])
