"""Photographs changed at random for training, as they might have been taken otherwise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmentation", "augmented"]

Augmentation = Literal["none", "flip", "flip-crop"]
"""What is done to each training image at random.

- none: nothing;
- flip: every other one is mirrored, left to right;
- flip-crop: that, and its frame is moved by at most an eighth of its height and width each way; what lay outside it is
  the image mirrored at its edge.
"""


def augmented(x: NDArray[np.uint8], words: NDArray[np.uint64], how: Augmentation) -> NDArray[np.uint8]:
    """Images [*batch, c, h, w], each changed by a random word of its own [*batch]."""
    if how == "none":
        return x
    height, width = x.shape[-2:]
    number = words.reshape(-1).astype(np.int64)
    down = _shifts(number >> 1 & 0xFFF, height // 8 if how == "flip-crop" else 0)
    across = _shifts(number >> 13 & 0xFFF, width // 8 if how == "flip-crop" else 0)
    rows = _mirrored(np.arange(height) + down[:, None], height)
    columns = _mirrored(np.arange(width) + across[:, None], width)
    columns = np.where((number & 1)[:, None] == 1, columns[:, ::-1], columns)
    # Each image as pixels in a row, so that one look-up finds them all.
    flat = x.reshape(len(number), -1, height * width)
    pixels = (rows[:, :, None] * width + columns[:, None]).reshape(len(number), 1, -1)
    return np.take_along_axis(flat, pixels, axis=-1).reshape(x.shape)


def _shifts(number: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """From -most to most."""
    shifts: NDArray[np.int64] = number % (2 * most + 1) - most
    return shifts


def _mirrored(place: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Places outside 0 to size - 1, mirrored at the edge."""
    inside: NDArray[np.int64] = size - 1 - np.abs(size - 1 - np.abs(place))
    return inside
