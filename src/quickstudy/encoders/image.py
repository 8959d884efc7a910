"""Pictures: image files, their bytes or Pillow's images, prepared as those that a method was trained on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from quickstudy.core.settings import Size, settings
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.encoders.encoder import Encoder, Kind
from quickstudy.errors import DataError, SettingsError
from quickstudy.tasks.images import decode, fitted

__all__ = ["ImageEncoder", "on_paper", "strokes_on_dark"]

PAPER, DARK = 191, 63
"""Pixels above the first are bright as paper is; below the second they are dark."""
CLEAR = 0.75
"""The fraction of an image's edge that must be so for its ground to count as bright or dark."""


@settings
class ImageEncoder(Encoder):
    """Pictures as fractions of full brightness, resized and padded to one shape.

    An input is a path, the bytes of a file, or a Pillow image. It is set upright as its EXIF data say, laid on white
    where transparent, made grey or RGB, resized with antialiasing and padded with its corner's colour.
    """

    kind: ClassVar[Kind] = "image"

    item: tuple[Size, Size, Size]
    """Channels (1 is grey, 3 is RGB), height and width."""
    invert: Literal["never", "paper", "always"] = "never"
    """Whether to take the negative: "paper" does of each grey image whose edges are almost white, for methods that
    were trained on bright strokes on dark ground."""

    def encode(self, raw: Sequence[Any]) -> Float[Tensor, "n *item"]:
        return self.fractions(self.pixels(raw))

    def pixels(self, raw: Sequence[Any]) -> Shaped[Tensor, "n c h w"]:
        """The inputs as uint8, never inverted.

        Raises:
            DataError: naming the first input that cannot be read.
        """
        pixels = np.empty((len(raw), *self.item), dtype=np.uint8)
        for at, each in enumerate(raw):
            pixels[at] = self._picture(at, each)
        return torch.from_numpy(pixels)

    def fractions(self, pixels: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Pixels as the method reads them: inverted where that is asked for, and as fractions of 255."""
        if self.invert == "always":
            pixels = 255 - pixels
        elif self.invert == "paper":
            turned = torch.from_numpy(on_paper(pixels.numpy()))
            pixels = torch.where(turned[:, None, None, None], 255 - pixels, pixels)
        return pixels.float() / 255

    def _picture(self, at: int, each: Any) -> NDArray[np.uint8]:
        if isinstance(each, (str, Path)):
            return decode(Path(each), self.item)
        if isinstance(each, (bytes, bytearray, memoryview)):
            return decode(Path(f"input {at}"), self.item, io.BytesIO(each))
        if isinstance(each, Image.Image):
            return self._of_pillow(at, each)
        raise DataError(
            f"input {at} is {type(each).__name__}; expected a path, the bytes of an image file, or a Pillow image."
        )

    def _of_pillow(self, at: int, image: Image.Image) -> NDArray[np.uint8]:
        try:
            return fitted(ImageOps.exif_transpose(image), self.item)
        except SettingsError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(f"input {at} cannot be used as an image: {error}. Expected a whole picture.") from None


def on_paper(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which grey images [n, 1, h, w] have the ground of paper: edges almost all bright. None of coloured ones."""
    if pixels.shape[1] != 1 or not len(pixels):
        return np.zeros(len(pixels), dtype=bool)
    found: NDArray[np.bool_] = (_edges(pixels) > PAPER).mean(-1) > CLEAR
    return found


def strokes_on_dark(pixels: NDArray[np.uint8]) -> bool:
    """Whether most of these grey images [n, 1, h, w] have dark edges, as bright strokes on dark ground do."""
    if pixels.shape[1] != 1 or not len(pixels):
        return False
    dark = (_edges(pixels) < DARK).mean(-1) > CLEAR
    return bool(dark.mean() > CLEAR)


def _edges(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    sides = [pixels[..., 0, :], pixels[..., -1, :], pixels[..., :, 0], pixels[..., :, -1]]
    return np.concatenate([side.reshape(len(pixels), -1) for side in sides], axis=1)
