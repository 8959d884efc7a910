"""Small pictures, which are read where they arrive: going to another thread and back takes longer than reading them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL.PngImagePlugin import PngImageFile

from quickstudy.core.shapes import Float, Tensor
from quickstudy.encoders import ImageEncoder
from quickstudy.serve.intake import Raw
from quickstudy.serve.settings import Limits
from quickstudy.tasks.images import is_plain, plain

__all__ = ["are_small", "items_of_small"]

PNG = b"\x89PNG\r\n\x1a\n"
HEAD = 33
"""Bytes of the head, which has the size."""
UNPACKED = (b"zTXt", b"iTXt", b"iCCP")
PIXELS = 2**15
"""Of all the pictures of a request."""


def are_small(raws: Sequence[Raw], limits: Limits) -> bool:
    """Whether these are PNG files of so few pixels that unpacking all takes a millisecond or two, by their heads.

    Files that may hold compressed text or colour profiles are none: there is no telling what those unpack to.
    """
    pixels = 0
    for kind, content in raws:
        if kind not in ("image", "file") or len(content) < HEAD or content[:8] != PNG or content[12:16] != b"IHDR":
            return False
        own = int.from_bytes(content[16:20]) * int.from_bytes(content[20:24])
        if own > limits.pixels or len(content) > limits.image_bytes or any(each in content for each in UNPACKED):
            return False
        pixels += own
    return pixels <= PIXELS


def items_of_small(contents: Sequence[bytes], encoder: ImageEncoder) -> Float[Tensor, "n *item"] | None:
    """What the encoder makes of files that `are_small`; None where one is damaged, for which others find the words."""
    pixels = np.empty((len(contents), *encoder.item), dtype=np.uint8)
    try:
        for at, content in enumerate(contents):
            with PngImageFile(io.BytesIO(content)) as image:
                image.load()
                pixels[at] = plain(image, encoder.item) if is_plain(image, encoder.item) else encoder.pixels([content])
    except Exception:  # decoders raise whatever they stumble over in a damaged file
        return None
    return encoder.fractions(torch.from_numpy(pixels))
