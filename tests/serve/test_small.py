"""Small pictures are read at once, and come to what larger ones would; what may take long is not small."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

pytest.importorskip("fastapi", reason="fastapi comes with the extra `serve`")

from quickstudy.encoders import ImageEncoder
from quickstudy.serve.intake import Raw, checked, items_of
from quickstudy.serve.settings import Limits
from quickstudy.serve.small import are_small, items_of_small
from serve.asking import noise

LIMITS = Limits()


def png(image: Image.Image, **how: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", **how)
    return content.getvalue()


def noted(kind: str) -> bytes:
    note = PngInfo()
    if kind == "zTXt":
        note.add_text("Title", "a note", zip=True)
    else:
        note.add_itxt("Title", "a note")
    return png(Image.new("L", (9, 9)), pnginfo=note)


def small(*contents: bytes, kind: str = "image", limits: Limits = LIMITS) -> bool:
    return are_small([Raw(kind, each) for each in contents], limits)


@pytest.mark.parametrize("item", [(1, 16, 16), (3, 16, 16)], ids=["grey", "colour"])
@pytest.mark.parametrize("invert", ["never", "paper", "always"])
def test_they_come_to_what_the_encoder_makes_of_them(item: tuple[int, int, int], invert: Any) -> None:
    """Plain ones, and ones of other modes, sizes and with transparency."""
    encoder = ImageEncoder(item=item, invert=invert)
    grey = Image.fromarray(np.full((16, 16), 250, dtype=np.uint8))
    clear = Image.new("LA", (16, 16), (10, 128))
    contents = [noise(1), noise(2, mode="RGB"), noise(3, side=20), png(grey), png(clear), png(grey.convert("1"))]
    assert small(*contents)
    assert small(*contents, kind="file")
    found = items_of_small(contents, encoder)
    expected = items_of(checked([Raw("image", each) for each in contents], encoder, LIMITS), encoder)
    assert found is not None
    assert torch.equal(found, expected)


def test_what_may_take_long_is_not_small() -> None:
    assert not small(noise(kind="JPEG"))
    assert not small(noise(side=200))
    assert small(*[noise(side=64)] * 8)
    assert not small(*[noise(side=64)] * 9)
    assert not small(noted("zTXt"))
    assert not small(noted("iTXt"))
    assert not small(png(Image.new("L", (9, 9)), icc_profile=b"a profile"))
    assert not small(b"")
    assert not small(noise()[:20])
    assert not small(noise(), kind="text")


def test_limits_hold_for_small_ones_too() -> None:
    assert not small(noise(side=40), limits=Limits(megapixels=0.001))
    assert not small(noise(side=64), limits=Limits(image=0.001))


def test_damage_is_left_to_others() -> None:
    encoder, whole = ImageEncoder(item=(1, 16, 16)), noise()
    for damaged in (whole[:60], whole[:45] + b"\0\0\0\0" + whole[49:], whole[:33]):
        assert small(damaged)
        assert items_of_small([whole, damaged], encoder) is None
