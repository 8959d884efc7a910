"""Images changed at random for training, as they might have been taken or drawn otherwise."""

from __future__ import annotations

from math import pi
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

__all__ = ["Augmentation", "augmented"]

Augmentation = Literal["none", "flip", "flip-crop", "affine"]
"""What is done to each training image at random. What lay outside its frame is the image mirrored at its edge.

- none: nothing;
- flip: every other one is mirrored, left to right; not for characters, of which that makes others;
- flip-crop: that, and its frame is moved by at most an eighth of its height and width each way;
- affine: it is turned by at most a sixteenth of 180 degrees each way, each of its sides is stretched or shrunk by at
  most a tenth, and it is moved by at most a tenth of its height and width each way: a character as another hand, or
  the same hand another time, might have drawn it (turned and moved as in Santoro et al. 2016, section 4.1).
"""


def augmented(x: NDArray[np.uint8], words: NDArray[np.uint64], how: Augmentation) -> NDArray[np.uint8]:
    """Images [*batch, c, h, w], each changed by a random word of 32 bits of its own [*batch]."""
    if how == "none":
        return x
    number = words.reshape(-1).astype(np.int64)
    images = x.reshape(len(number), *x.shape[-3:])
    changed = _moved_and_turned(images, number) if how == "affine" else _mirrored_and_moved(images, number, how)
    return changed.reshape(x.shape)


def _mirrored_and_moved(x: NDArray[np.uint8], number: NDArray[np.int64], how: Augmentation) -> NDArray[np.uint8]:
    height, width = x.shape[-2:]
    down = _shifts(number >> 1 & 0xFFF, height // 8 if how == "flip-crop" else 0)
    across = _shifts(number >> 13 & 0xFFF, width // 8 if how == "flip-crop" else 0)
    rows = _mirrored(np.arange(height) + down[:, None], height)
    columns = _mirrored(np.arange(width) + across[:, None], width)
    columns = np.where((number & 1)[:, None] == 1, columns[:, ::-1], columns)
    # Each image as pixels in a row, so that one look-up finds them all.
    flat = x.reshape(len(number), -1, height * width)
    pixels = (rows[:, :, None] * width + columns[:, None]).reshape(len(number), 1, -1)
    return np.take_along_axis(flat, pixels, axis=-1)


def _moved_and_turned(x: NDArray[np.uint8], number: NDArray[np.int64]) -> NDArray[np.uint8]:
    height, width = x.shape[-2:]
    turn, high, wide, down, across = (_share(number >> 6 * part) for part in range(5))
    cos, sin = np.cos(turn * pi / 16), np.sin(turn * pi / 16)
    high, wide = 1 + high / 10, 1 + wide / 10
    # Where each pixel of the new image comes from, in halves of the frame's width (x, first) and height (y).
    back = np.stack(
        [
            np.stack([cos * wide, -sin * wide * height / width, across / 5], axis=1),
            np.stack([sin * high * width / height, cos * high, down / 5], axis=1),
        ],
        axis=1,
    )
    grid = functional.affine_grid(torch.from_numpy(back).float(), [*x.shape], align_corners=False)
    at = functional.grid_sample(torch.from_numpy(x).float(), grid, padding_mode="reflection", align_corners=False)
    found: NDArray[np.uint8] = at.round_().to(torch.uint8).numpy()
    return found


def _share(number: NDArray[np.int64]) -> NDArray[np.float64]:
    """From -1 to 1, in 64 steps."""
    shares: NDArray[np.float64] = (number & 0x3F) / 31.5 - 1
    return shares


def _shifts(number: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """From -most to most."""
    shifts: NDArray[np.int64] = number % (2 * most + 1) - most
    return shifts


def _mirrored(place: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Places outside 0 to size - 1, mirrored at the edge."""
    inside: NDArray[np.int64] = size - 1 - np.abs(size - 1 - np.abs(place))
    return inside
