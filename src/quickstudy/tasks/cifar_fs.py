"""CIFAR-FS: the 100 classes of CIFAR-100 as few-shot tasks (Bertinetto et al. 2019)."""

from __future__ import annotations

import functools
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstudy.core import chance
from quickstudy.core.settings import settings
from quickstudy.errors import DataError
from quickstudy.tasks.cache import cached_array, data_folder
from quickstudy.tasks.download import checksum, download
from quickstudy.tasks.fewshot import ImageTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits, check_splits

__all__ = ["CifarFS"]

URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
MD5 = "03b5dce01913d631647c71ecec9e9cb8"
ITEM = (3, 32, 32)
PIXELS = 3 * 32 * 32
PARTS = (("train", 50_000), ("test", 10_000))  # of the original archive

# Bertinetto et al. (2019), after the lists of torchmeta (MIT licence).
_LISTS = {
    "train": """
        apple aquarium_fish bear bee bottle bowl boy bridge bus can castle caterpillar chair clock cloud cockroach couch
        cup dinosaur dolphin elephant forest girl hamster house kangaroo keyboard lawn_mower lion lizard lobster
        mountain mouse mushroom oak_tree orange orchid palm_tree pear pine_tree plate porcupine possum rabbit raccoon
        ray road seal shrew skunk skyscraper snake spider squirrel streetcar sunflower tank tiger train trout tulip
        turtle willow_tree wolf
    """,
    "val": """
        beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle otter sea shark
        television tractor
    """,
    "test": """
        baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail sweet_pepper table
        telephone wardrobe whale woman worm
    """,
}
SPLIT = {split: names.split() for split, names in _LISTS.items()}
# In the order of their names, which is how CIFAR-100 numbers them.
NAMES = sorted(name for names in SPLIT.values() for name in names)


@settings
class CifarFS(ImageTasks):
    """Colour photographs of 100 kinds of things, 32 by 32: 64 for training, 16 and 20 (Bertinetto et al. 2019).

    Read from `QUICKSTUDY_DATA/cifar_fs`: either the original `cifar-100-binary.tar.gz`, or .npz archives that hold
    `*_images` [n, 32, 32, 3], `*_labels` and `class_names`. Such a copy may have fewer than CIFAR-100's 600 images a
    class; results on it are comparable with one another, but only roughly with the literature's. Without
    `QUICKSTUDY_DATA` the original is downloaded (161 MB).

    Raises:
        DataError: an archive that is missing, damaged, or lacks a class (naming it).
    """

    def pools(self) -> Splits:
        root = data_folder()
        if root is None:
            return _pools((download(URL, MD5),))
        return _pools(tuple(_find(root / "cifar_fs")))


def _find(folder: Path) -> list[Path]:
    original = folder / "cifar-100-binary.tar.gz"
    found = [original] if original.exists() else sorted(folder.glob("*.npz"))
    if not found:
        raise DataError(
            f"QUICKSTUDY_DATA is set, but {folder} holds neither {original.name} nor .npz archives. Put one there, or "
            "unset QUICKSTUDY_DATA to download the original."
        )
    return found


@functools.cache
def _pools(archives: tuple[Path, ...]) -> Splits:
    tarred = archives[0].suffix == ".gz"
    kind = chance.fingerprint("by class", [checksum(path) for path in archives])
    read = functools.cache(lambda: _by_class(*(_read_binary(archives[0]) if tarred else _read_npz(archives))))
    counts = cached_array(f"cifar-fs-counts-{kind}", lambda: read()[1])
    x = cached_array(f"cifar-fs-{kind}", lambda: read()[0])
    starts = np.cumsum(counts) - counts

    def pool(split: str) -> Pool:
        at = np.array([NAMES.index(name) for name in SPLIT[split]])
        return Pool(x, starts[at], counts[at], SPLIT[split], name=f"cifar_fs/{split}")

    # A few photographs of CIFAR-100 occur twice under different labels, so content is not compared.
    return check_splits(Splits(pool("train"), pool("val"), pool("test")), content=False)


def _by_class(images: NDArray[np.uint8], labels: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images class by class, and the number of each: labels count through `NAMES`."""
    return images[np.argsort(labels, kind="stable")], np.bincount(labels, minlength=len(NAMES)).astype(np.int64)


def _read_npz(paths: tuple[Path, ...]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    parts = [part for path in paths for part in _parts(path)]
    labels = np.concatenate([part[1] for part in parts]) if parts else np.zeros(0, dtype=np.int64)
    for place in sorted(set(range(len(NAMES))) - set(labels.tolist())):
        raise DataError(
            f"{', '.join(path.name for path in paths)} in {paths[0].parent}: no image of class {NAMES[place]!r}. "
            "CIFAR-FS needs all 100 classes: add the archive that holds it."
        )
    return np.concatenate([part[0] for part in parts]), labels


def _parts(path: Path) -> list[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Each array of images in an .npz archive, with the labels of the same name."""
    found = []
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            places = _places(path, archive["class_names"])
            for key in (key for key in archive.files if key.endswith("_images")):
                images, labels = archive[key], archive[key.replace("_images", "_labels")]
                _check(path, key, images, labels)
                found.append((images.transpose(0, 3, 1, 2), places[labels]))
    except DataError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, IndexError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as CIFAR-FS ({error}). Expected class_names, *_images [n, 32, 32, 3] uint8 and "
            "*_labels [n]: copy the archive again."
        ) from None
    return found


def _places(path: Path, names: NDArray[Any]) -> NDArray[np.int64]:
    """Where each of the archive's own class numbers stands in `NAMES`."""
    for name in names.tolist():
        if name not in NAMES:
            raise DataError(f"{path}: {name!r} is no class of CIFAR-100. Use the fine labels, such as {NAMES[0]!r}.")
    return np.array([NAMES.index(name) for name in names.tolist()])


def _check(path: Path, key: str, images: NDArray[Any], labels: NDArray[Any]) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        raise DataError(
            f"{path}: {key} is {images.dtype} of shape {images.shape}; expected uint8 [n, 32, 32, 3]. Save the images "
            "as they are, without scaling or turning their axes."
        )
    if len(images) != len(labels):
        raise DataError(f"{path}: {len(images)} {key} but {len(labels)} labels. Copy the archive again.")


def _read_binary(path: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """CIFAR-100's binary version: records of a coarse label, a fine label, and the pixels, channels first."""
    parts = []
    try:
        with tarfile.open(path) as archive:
            for name, count in PARTS:
                file = archive.extractfile(f"cifar-100-binary/{name}.bin")
                content = b"" if file is None else file.read()
                if len(content) != count * (2 + PIXELS):
                    raise DataError(
                        f"{path}: {name}.bin has {len(content)} bytes; expected {count * (2 + PIXELS)}. Delete the "
                        "archive and fetch it again."
                    )
                parts.append(np.frombuffer(content, np.uint8).reshape(count, 2 + PIXELS))
    except (tarfile.TarError, zlib.error, EOFError, OSError, KeyError) as error:
        raise DataError(f"{path} is not a whole archive ({error}). Delete it and fetch it again.") from None
    records = np.concatenate(parts)
    return records[:, 2:].reshape(-1, *ITEM), records[:, 1].astype(np.int64)
