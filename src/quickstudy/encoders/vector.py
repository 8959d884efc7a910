"""Numbers as they are: rows of a table, features made elsewhere, arrays of any one shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from quickstudy.core.settings import Size, settings
from quickstudy.core.shapes import Float, Tensor
from quickstudy.encoders.encoder import Encoder, Kind
from quickstudy.errors import DataError

__all__ = ["VectorEncoder"]


@settings
class VectorEncoder(Encoder):
    """Lists or arrays of numbers, taken as they are.

    Raises:
        DataError: an input that holds no numbers, NaN or infinite ones, or has another shape.
    """

    kind: ClassVar[Kind] = "vector"

    item: tuple[Size, ...]
    """The shape of an input: (64,) for a row of 64 numbers."""

    def encode(self, raw: Sequence[Any]) -> Float[Tensor, "n *item"]:
        rows = np.empty((len(raw), *self.item), dtype=np.float32)
        for at, each in enumerate(raw):
            rows[at] = self._row(at, each)
        return torch.from_numpy(rows)

    def _row(self, at: int, each: Any) -> Any:
        try:
            row = np.asarray(each.detach().cpu() if isinstance(each, Tensor) else each)
        except (ValueError, RuntimeError, OverflowError) as error:
            raise DataError(f"input {at} is no array of numbers: {error}. {self._wanted()}") from None
        if row.dtype.kind not in "fiub":
            raise DataError(f"input {at} holds {row.dtype.name}, not numbers. {self._wanted()}")
        if row.shape != self.item:
            raise DataError(f"input {at} has shape {list(row.shape)}. {self._wanted()}")
        with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such
            row = row.astype(np.float32)
        if not np.isfinite(row).all():
            raise DataError(f"input {at} holds NaN, or numbers that are infinite in float32. Clean the data first.")
        return row

    def _wanted(self) -> str:
        return f"Expected numbers of shape {list(self.item)}; the model was trained on such."
