"""Pictures, from wherever they come, become the same tensors as those that a folder of images is trained on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.core.settings import dump, load
from quickstudy.encoders import ImageEncoder
from quickstudy.encoders.image import strokes_on_dark
from quickstudy.errors import DataError, SettingsError
from quickstudy.tasks.images import read_images


def page(size: tuple[int, int] = (28, 28), ground: int = 0) -> Image.Image:
    """A bar on even ground."""
    pixels = np.full(size, ground, dtype=np.uint8)
    pixels[size[0] // 4 : size[0] // 2, size[1] // 3 : size[1] // 2] = 255 - ground
    return Image.fromarray(pixels)


def content(image: Image.Image, form: str = "PNG", **more: Any) -> bytes:
    kept = io.BytesIO()
    image.save(kept, form, **more)
    return kept.getvalue()


@pytest.mark.parametrize("item", [(1, 28, 28), (3, 20, 24)])
def test_paths_bytes_and_images_are_one(item: tuple[int, int, int], tmp_path: Path) -> None:
    image = page((40, 30), 7)
    (tmp_path / "a.png").write_bytes(content(image))
    encoder = ImageEncoder(item=item)
    x = encoder.encode([tmp_path / "a.png", str(tmp_path / "a.png"), content(image), bytearray(content(image)), image])
    assert x.shape == (5, *item)
    assert x.dtype == torch.float32
    expected = read_images([tmp_path / "a.png"], item, invert=False).float() / 255
    assert all(torch.equal(each, expected[0]) for each in x)


def test_each_picture_by_itself() -> None:
    """Ink is turned bright on each page by itself: what else is asked makes no difference."""
    encoder = ImageEncoder(item=(1, 28, 28), invert="paper")
    dark, bright, grey = page(), page(ground=255), page(ground=120)
    together = encoder.encode([dark, bright, grey, bright])
    assert torch.equal(together[0], together[1])  # the same bar, with bright ink on dark ground
    assert torch.equal(together[2], ImageEncoder(item=(1, 28, 28)).encode([grey])[0])
    for at, image in enumerate([dark, bright, grey]):
        assert torch.equal(encoder.encode([image])[0], together[at])


def test_always_and_never() -> None:
    plain = ImageEncoder(item=(1, 28, 28)).encode([page()])
    turned = ImageEncoder(item=(1, 28, 28), invert="always").encode([page()])
    torch.testing.assert_close(plain + turned, torch.ones_like(plain))
    colours = ImageEncoder(item=(3, 28, 28), invert="paper").encode([page(ground=255)])
    assert torch.equal(colours, ImageEncoder(item=(3, 28, 28)).encode([page(ground=255)]))


def test_pictures_are_set_upright() -> None:
    """A photograph that says it lies on its side, from a file and at hand."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = content(page((30, 40)), "JPEG", exif=exif.tobytes(), quality=100)
    encoder = ImageEncoder(item=(1, 28, 28))
    with Image.open(io.BytesIO(lying)) as opened:
        both = encoder.encode([lying, opened])
    assert torch.equal(both[0], both[1])
    upright = encoder.encode([page((30, 40)).transpose(Image.Transpose.ROTATE_270)])
    assert (both[0] - upright[0]).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "input 1 cannot be read as an image"),
        (b"GIF89a", "input 1 cannot be read"),
        (content(page())[:-30], "input 1 cannot be read"),
        (7, "input 1 is int; expected a path, the bytes"),
        (None, "input 1 is NoneType"),
        (Image.new("F", (4, 4)), "input 1 cannot be used as an image: .*without a known range"),
        ("nowhere.png", "nowhere.png does not exist"),
    ],
)
def test_what_is_no_picture(bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageEncoder(item=(1, 28, 28)).encode([page(), bad])


def bomb() -> bytes:
    """A small file that claims to be a picture of 400 million pixels."""
    whole = bytearray(content(page()))
    whole[16:24] = (20_000).to_bytes(4, "big") * 2  # width and height in the header
    import zlib

    whole[29:33] = zlib.crc32(bytes(whole[12:29])).to_bytes(4, "big")
    return bytes(whole)


def test_bombs_are_refused_before_they_are_read() -> None:
    with pytest.raises(DataError, match="far larger than a picture is"):
        ImageEncoder(item=(1, 28, 28)).encode([bomb()])


def test_settings() -> None:
    encoder = ImageEncoder(item=(1, 28, 28), invert="paper")
    assert dump(encoder) == {"name": "image", "item": [1, 28, 28], "invert": "paper"}
    assert load("encoder", dump(encoder)) == encoder
    with pytest.raises(SettingsError, match="invert"):
        ImageEncoder(item=(1, 28, 28), invert="sometimes")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="item"):
        ImageEncoder(item=(1, 28))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"expected \[1 or 3, height, width\]"):
        ImageEncoder(item=(2, 28, 28)).encode([page()])


def test_which_training_images_are_strokes_on_dark() -> None:
    dark = np.stack([np.asarray(page())[None]] * 4)
    assert strokes_on_dark(dark)
    assert not strokes_on_dark(255 - dark)
    assert not strokes_on_dark(np.repeat(dark, 3, axis=1))
    assert not strokes_on_dark(np.full((4, 1, 28, 28), 100, dtype=np.uint8))
    assert not strokes_on_dark(np.zeros((0, 1, 28, 28), dtype=np.uint8))
