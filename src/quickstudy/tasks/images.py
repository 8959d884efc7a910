"""Reading image files: a person's pictures as the tensors that a net is fed.

Every reader of image files goes through here, so that what `Folder` trains on and what a trained run is asked about
later are prepared alike.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from quickstudy.core.shapes import Shaped, Tensor
from quickstudy.errors import DataError, SettingsError

__all__ = [
    "SUFFIXES",
    "Invert",
    "class_folders",
    "dark_on_bright",
    "decode",
    "files_in",
    "fitted",
    "is_plain",
    "plain",
    "read_image",
    "read_images",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
"""What the names of image files end in, in small letters."""

MODES = {1: "L", 3: "RGB"}
"""Pillow's names of images of one and three channels."""

Invert = Literal["auto"] | bool
"""Whether to take the negative; "auto" does for grey images that are dark on bright, so that ink is always bright."""


def read_image(path: Path | str, item: tuple[int, ...], invert: Invert = "auto") -> Shaped[Tensor, "c h w"]:
    """One image file as uint8 [channels, height, width] of the shape `item`.

    Raises:
        DataError: the file is missing, no image, cut short, or too large to be an honest picture.
        SettingsError: `item` is not the shape of an image.
    """
    return read_images([path], item, invert)[0]


def read_images(
    paths: Sequence[Path | str], item: tuple[int, ...], invert: Invert = "auto"
) -> Shaped[Tensor, "n c h w"]:
    """Image files as uint8 [n, channels, height, width]. With `invert="auto"` all are turned, or none.

    Raises:
        DataError: naming the first file that cannot be read.
        SettingsError: `item` is not the shape of an image.
    """
    images = np.empty((len(paths), *_checked(item)), dtype=np.uint8)
    for at, path in enumerate(paths):
        images[at] = decode(Path(path), item)
    turn = dark_on_bright(images) if invert == "auto" else invert
    return torch.from_numpy(255 - images if turn else images)


def decode(path: Path, item: tuple[int, ...], content: BinaryIO | None = None) -> NDArray[np.uint8]:
    """One image file, never inverted, as an array [channels, height, width].

    It is set upright as its EXIF data say, laid on white where it is transparent, made grey or RGB, resized with
    antialiasing, and padded with its corner's colour to the proportions of `item`. Of an animation the first frame
    counts.

    Args:
        path: The file, which messages name.
        item: [1 or 3, height, width].
        content: The file's content, where it is already at hand.
    """
    _checked(item)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a picture with odd metadata is still a picture
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content or path) as image:
                _refuse_bomb(image)
                image.load()
                if is_plain(image, item):
                    return plain(image, item)
                whole = ImageOps.exif_transpose(image)
                return fitted(whole, item)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path} claims to be far larger than a picture is: {error} Shrink it before use, or remove it if you do "
            "not know where it is from."
        ) from None
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; expected an image file. Check the path.") from None
    except Exception as error:  # decoders raise whatever they stumble over in a damaged file
        raise DataError(
            f"{path} cannot be read as an image ({error}). Expected a whole file of a common format such as PNG or "
            "JPEG. Replace or remove it."
        ) from None


def fitted(image: Image.Image, item: tuple[int, ...]) -> NDArray[np.uint8]:
    """An upright image as an array [channels, height, width]: on white, grey or RGB, resized and padded to `item`.

    Raises:
        SettingsError: `item` is not the shape of an image.
        ValueError: its pixels have no known range.
    """
    channels, height, width = _checked(item)
    whole = _on_white(_eight_bits(image))
    sheet = _on_sheet(whole.convert(MODES[channels]), width, height)
    return sheet[None] if channels == 1 else np.ascontiguousarray(sheet.transpose(2, 0, 1))


def is_plain(image: Image.Image, item: tuple[int, ...]) -> bool:
    """Whether there is nothing to be done to an image: no transparency, no rotation, the right size and channels."""
    right = image.mode == MODES[item[0]] and image.size == (item[2], item[1])
    return right and image.format == "PNG" and not image.info


def plain(image: Image.Image, item: tuple[int, ...]) -> NDArray[np.uint8]:
    """An image to which nothing is to be done, as `fitted` gives it."""
    sheet = np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(item[1], item[2], item[0])
    return np.ascontiguousarray(sheet.transpose(2, 0, 1))


def dark_on_bright(images: NDArray[np.uint8] | Tensor) -> bool:
    """Whether grey images [n, 1, h, w] show dark on bright: whether most pixels on their edges are bright.

    False for colour images, whose colours have a meaning of their own.
    """
    values = np.asarray(images)
    if values.shape[1] != 1 or len(values) == 0:
        return False
    edges = [values[..., 0, :], values[..., -1, :], values[..., :, 0], values[..., :, -1]]
    return float(np.median(np.concatenate([edge.reshape(-1) for edge in edges]))) > 127


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class of a folder `class/x.png`, in an order that no file system changes.

    Raises:
        DataError: no such folder, no subfolders, or a subfolder without images.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {what}; expected a folder with one subfolder a class, each with images in it.")
    found = {_composed(each): _images(each) for each in _sorted(folder) if each.is_dir()}
    if not found:
        loose = len(_images(folder))
        raise DataError(
            f"{folder} has no subfolders{f' ({loose} loose images)' * bool(loose)}; expected one for each class. Put "
            "the images of a class in a subfolder that bears its name: cat/1.png, dog/1.png."
        )
    for name, files in found.items():
        if not files:
            raise DataError(
                f"class {name!r} of {folder} has no images ({', '.join(SUFFIXES[:3])}, ...) right inside its folder. "
                "Add some (images in folders further down do not count), or remove the folder."
            )
    return found


def files_in(place: Path) -> list[Path]:
    """A file itself, or the images of a folder and of the folders in it, in an order that no file system changes.

    Raises:
        DataError: there is nothing there.
    """
    if not place.exists():
        raise DataError(f"{place} does not exist; expected an image file or a folder of images. Check the path.")
    if place.is_file():
        return [place]
    return _images(place) + [file for each in _sorted(place) if each.is_dir() for file in files_in(each)]


def _images(folder: Path) -> list[Path]:
    return [each for each in _sorted(folder) if each.suffix.lower() in SUFFIXES and each.is_file()]


def _sorted(folder: Path) -> list[Path]:
    """What is in a folder, by name; without hidden entries, which systems and editors leave behind."""
    return sorted((each for each in folder.iterdir() if not each.name.startswith(".")), key=_composed)


def _composed(path: Path) -> str:
    """A file's name in Unicode's composed form: file systems differ in how they spell "é"."""
    return unicodedata.normalize("NFC", path.name)


def _checked(item: tuple[int, ...]) -> tuple[int, int, int]:
    if len(item) != 3 or item[0] not in (1, 3) or min(item) < 1:
        raise SettingsError(
            f"image files cannot be read as items of shape {item}; expected [1 or 3, height, width]. Make tensors of "
            "other shapes yourself, and use method.adapt and method.predict."
        )
    return item[0], item[1], item[2]


def _refuse_bomb(image: Image.Image) -> None:
    """Refuse by size where threads that decode at the same time undid the filter that makes warnings errors."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise Image.DecompressionBombError(f"{image.width} by {image.height} pixels, where {most} are the most.")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scans with 16 bits a pixel, of which Pillow would keep only the darkest values."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a known range")
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray(np.rint(np.asarray(image, dtype=np.float64).clip(0, 65535) / 257).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """What shows of an image with transparent parts: white paper behind it."""
    if not image.has_transparency_data:
        return image
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)


def _on_sheet(image: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    """The image as large as fits, in the middle of a sheet of its corner's colour."""
    ratio = min(width / image.width, height / image.height)
    size = max(1, round(ratio * image.width)), max(1, round(ratio * image.height))
    sheet = Image.new(image.mode, (width, height), image.getpixel((0, 0)))
    sheet.paste(image.resize(size, Image.Resampling.LANCZOS), ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(sheet)
