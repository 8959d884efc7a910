"""Reading image files: every mode comes out as expected, every kind of damage is one clear error."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from quickstudy.errors import DataError, SettingsError
from quickstudy.tasks.images import class_folders, dark_on_bright, decode, files_in, read_image, read_images

GREY = np.linspace(0, 255, 12 * 12).astype(np.uint8).reshape(12, 12)
COLOUR = np.stack([GREY, GREY.T, 255 - GREY], -1)


def saved(path: Path, image: Image.Image, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return path


def test_grey_and_colour_come_as_they_are(tmp_path):
    grey = saved(tmp_path / "g.png", Image.fromarray(GREY))
    colour = saved(tmp_path / "c.png", Image.fromarray(COLOUR))
    read = read_image(grey, (1, 12, 12), invert=False)
    assert read.dtype == torch.uint8
    np.testing.assert_array_equal(read[0], GREY)
    np.testing.assert_array_equal(read_image(colour, (3, 12, 12)), COLOUR.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_image(grey, (3, 12, 12)), np.stack([GREY] * 3))
    np.testing.assert_array_equal(read_image(colour, (1, 12, 12), False)[0], Image.fromarray(COLOUR).convert("L"))
    np.testing.assert_array_equal(read_image(str(grey), (1, 12, 12), invert=True)[0], 255 - GREY)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_modes_are_converted(tmp_path, mode, suffix):
    if (mode, suffix) in {("PA", ".png"), ("CMYK", ".png"), ("I", ".png")}:
        pytest.skip("PNG has no such mode")
    bars = np.zeros((12, 12), dtype=np.uint8)
    bars[:, 4:8] = 255
    if mode.startswith("I"):
        image = Image.fromarray(bars.astype(np.uint16) * 257)
        image = image if mode == "I;16" else image.convert("I")
    else:
        image = Image.fromarray(bars).convert("P" if mode == "PA" else mode)
        image = image.convert(mode)
    path = saved(tmp_path / f"x{suffix}", image)
    np.testing.assert_allclose(read_image(path, (1, 12, 12), False)[0], bars, atol=1)
    np.testing.assert_allclose(read_image(path, (3, 12, 12))[1], bars, atol=1)


def test_sixteen_bits_keep_their_shades(tmp_path):
    path = saved(tmp_path / "x.png", Image.fromarray(GREY.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_image(path, (1, 12, 12), False)[0], GREY)


def test_transparency_lies_on_white(tmp_path):
    ink = np.zeros((12, 12, 4), dtype=np.uint8)  # black, and nothing of it shows ...
    ink[3:6, 3:6, 3] = 255  # ... but here
    path = saved(tmp_path / "x.png", Image.fromarray(ink))
    expected = np.full((12, 12), 255)
    expected[3:6, 3:6] = 0
    np.testing.assert_array_equal(read_image(path, (1, 12, 12), False)[0], expected)
    np.testing.assert_array_equal(read_image(path, (1, 12, 12))[0], 255 - expected)


def test_photographs_are_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn right to see it upright"
    path = saved(tmp_path / "x.png", Image.fromarray(COLOUR), exif=exif)
    np.testing.assert_array_equal(read_image(path, (3, 12, 12)), np.rot90(COLOUR, -1).transpose(2, 0, 1))


def test_proportions_are_kept_on_the_colour_of_the_corner(tmp_path):
    wide = np.full((10, 40), 200, dtype=np.uint8)
    wide[:, 12:28] = 0
    read = read_image(saved(tmp_path / "x.png", Image.fromarray(wide)), (1, 20, 20), False)[0]
    assert (read[:7] == 200).all()
    assert (read[13:] == 200).all()
    assert (read[8:12, 8:12] <= 1).all()
    assert (read[8:12, :3] == 200).all()


@pytest.mark.parametrize("size", [(4000, 1), (1, 4000), (1, 1)])
def test_extreme_proportions_do_no_harm(tmp_path, size):
    path = saved(tmp_path / "x.png", Image.new("L", size, 77))
    assert (read_image(path, (1, 28, 28), False) == 77).all()


def test_the_first_frame_of_an_animation_counts(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    path = saved(tmp_path / "x.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(read_image(path, (1, 12, 12), False)[0], GREY, atol=1)


def test_auto_inverts_dark_on_bright_all_or_none(tmp_path):
    paper = np.full((12, 12), 255, dtype=np.uint8)
    paper[4:8, 4:8] = 0
    bright = [saved(tmp_path / f"{i}.png", Image.fromarray(paper)) for i in range(3)]
    odd = saved(tmp_path / "odd.png", Image.fromarray(255 - paper))
    read = read_images([*bright, odd], (1, 12, 12))
    np.testing.assert_array_equal(read[0, 0], 255 - paper)
    np.testing.assert_array_equal(read[3, 0], paper)
    np.testing.assert_array_equal(read_image(odd, (1, 12, 12))[0], 255 - paper)
    np.testing.assert_array_equal(read_image(bright[0], (3, 12, 12))[0], paper)  # colours stay
    assert dark_on_bright(np.stack([paper])[:, None])
    assert not dark_on_bright(torch.from_numpy(255 - paper)[None, None])
    assert not dark_on_bright(np.zeros((0, 1, 12, 12), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_file_cut_short_is_named(tmp_path, kind):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    path = tmp_path / "cut.png"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(DataError, match=r"cut\.png cannot be read as an image .* Replace or remove it"):
        read_image(path, (3, 64, 64))


def test_whatever_is_damaged_the_error_is_one_of_ours(tmp_path):
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    for kind in ("PNG", "GIF", "TIFF", "BMP"):
        buffer = io.BytesIO()
        noise.save(buffer, kind)
        for _ in range(60):
            content = bytearray(buffer.getvalue())
            for at in rng.integers(0, min(len(content), 200), 4):
                content[at] = rng.integers(256)
            with suppress(DataError):  # anything else, a warning included, fails the test
                assert decode(Path("x"), (3, 16, 16), io.BytesIO(bytes(content))).shape == (3, 16, 16)


def test_what_is_no_image_is_named(tmp_path):
    path = tmp_path / "text.png"
    path.write_text("not an image")
    with pytest.raises(DataError, match=r"text\.png cannot be read as an image"):
        read_image(path, (1, 12, 12))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"text\.png cannot be read as an image"):
        read_image(path, (1, 12, 12))
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        read_image(tmp_path / "gone.png", (1, 12, 12))
    with pytest.raises(DataError, match="cannot be read as an image"):
        read_image(tmp_path, (1, 12, 12))
    floats = saved(tmp_path / "f.tif", Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(DataError, match=r"f\.tif .*floating-point numbers without a known range"):
        read_image(floats, (1, 12, 12))


@pytest.mark.parametrize("limit", [100, 30])  # Pillow warns above its limit and refuses twice that
def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch, limit):
    path = saved(tmp_path / "bomb.png", Image.fromarray(GREY))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"bomb\.png claims to be far larger than a picture is.*Shrink it"):
        read_image(path, (1, 12, 12))


@pytest.mark.parametrize("item", [(12, 12), (2, 12, 12), (1, 0, 12), (1,)])
def test_items_that_are_no_images_are_refused(tmp_path, item):
    with pytest.raises(SettingsError, match=r"cannot be read as items of shape .* expected \[1 or 3, height, width\]"):
        read_image(tmp_path / "x.png", item)


def test_files_come_in_the_order_of_their_names(tmp_path):
    for name in ("b.png", "a.JPG", "z/c.png", "a/d.png", ".hidden.png", "notes.txt", ".cache/e.png"):
        saved(tmp_path / name, Image.fromarray(GREY), format="PNG")
    names = [file.relative_to(tmp_path).as_posix() for file in files_in(tmp_path)]
    assert names == ["a.JPG", "b.png", "a/d.png", "z/c.png"]
    assert files_in(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(DataError, match=r"gone does not exist; expected an image file or a folder"):
        files_in(tmp_path / "gone")


def test_classes_are_folders_with_images(tmp_path):
    for name in ("dog/2.png", "dog/1.png", "cat/1.png", "dog/.1.png.swp", ".git/x.png"):
        saved(tmp_path / name, Image.fromarray(GREY), format="PNG")
    found = class_folders(tmp_path)
    assert {name: [file.name for file in files] for name, files in found.items()} == {
        "cat": ["1.png"],
        "dog": ["1.png", "2.png"],
    }
    assert list(found) == ["cat", "dog"]
    saved(tmp_path / "fox" / "deeper" / "1.png", Image.fromarray(GREY))
    with pytest.raises(DataError, match=r"class 'fox' of .* has no images .*further down do not count"):
        class_folders(tmp_path)


def test_folders_without_classes_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone does not exist; expected a folder with one subfolder a class"):
        class_folders(tmp_path / "gone")
    with pytest.raises(DataError, match="has no subfolders; expected one for each class"):
        class_folders(tmp_path)
    path = saved(tmp_path / "1.png", Image.fromarray(GREY))
    with pytest.raises(DataError, match=r"has no subfolders \(1 loose images\)"):
        class_folders(tmp_path)
    with pytest.raises(DataError, match=r"1\.png is a file; expected a folder"):
        class_folders(path)


@pytest.mark.parametrize(("mode", "item"), [("L", (1, 9, 7)), ("RGB", (3, 9, 7))])
def test_plain_images_are_as_they_would_be_with_something_to_do(tmp_path, mode, item):
    """A PNG file of just the right size takes a shorter way; one that carries a note, the long one."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, item[0]), dtype=np.uint8)
    image = Image.fromarray(pixels[..., 0] if mode == "L" else pixels)
    note = PngInfo()
    note.add_text("Title", "a note")
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "noted.png", pnginfo=note)
    plain, noted = (decode(tmp_path / name, item) for name in ("plain.png", "noted.png"))
    assert np.array_equal(plain, noted)
    assert np.array_equal(plain, pixels.transpose(2, 0, 1))
