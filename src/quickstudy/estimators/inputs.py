"""What users of scikit-learn pass for X, as tensors: vectors, arrays of images, or raw text and pictures to encode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from quickstudy.core.shapes import Shaped, Tensor
from quickstudy.errors import DataError

__all__ = ["is_raw", "items", "listed"]


def is_raw(X: Any) -> bool:
    """Whether these are texts, image files or pictures, one an example, and not numbers."""
    if isinstance(X, (str, bytes, Path, Image.Image)):
        raise DataError(f"X is one {type(X).__name__}; expected a list of inputs, one an example.")
    if not isinstance(X, (list, tuple)):
        if getattr(X, "ndim", None) != 1 or getattr(getattr(X, "dtype", None), "kind", "OUS") not in "OUS":
            return False
        X = listed(X)
    return len(X) > 0 and isinstance(X[0], (str, bytes, Path, Image.Image))


def listed(X: Any) -> list[Any]:
    """A list, whether they came in one, in an array or in a column of a table."""
    return [*X] if isinstance(X, (list, tuple)) else [*np.asarray(X, dtype=object)]


def items(X: NDArray[Any], item: tuple[int, ...] | None) -> Shaped[Tensor, "n *item"]:
    """Numbers as a tensor of items: images of whole bytes as fractions of 255, flat rows in the shape they stand for.

    Args:
        X: Numbers, [n, ...].
        item: The shape of one item; None for whatever it is.

    Raises:
        DataError: they are not of that shape.
    """
    x = torch.tensor(X)  # a copy: what is given may be read-only, or change later
    if x.dtype == torch.uint8 and x.ndim > 2:
        x = x / 255
    if item is None or tuple(x.shape[1:]) == item:
        return x
    if math.prod(x.shape[1:]) != math.prod(item):
        raise DataError(
            f"X has items of shape {_shape(x.shape[1:])}; expected {_shape(item)}, or as many numbers in a row, as the "
            "model was trained on."
        )
    return x.reshape(len(x), *item)


def _shape(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
