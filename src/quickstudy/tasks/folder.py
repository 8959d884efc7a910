"""Tasks from a folder of your own images."""

from __future__ import annotations

import functools
import hashlib
import io
from collections import Counter
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from quickstudy.core import chance
from quickstudy.core.settings import Fraction, Size, settings
from quickstudy.errors import DataError
from quickstudy.tasks.cache import cached_array
from quickstudy.tasks.fewshot import ImageTasks
from quickstudy.tasks.images import Invert, class_folders, dark_on_bright, decode
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits, check_fractions, check_splits, dealt

__all__ = ["Folder"]

Classes = dict[str, list[Path]]
"""The images of each class, classes by name."""

_READING = 1  # to be raised whenever images come to be read differently: the cache then reads them again

# A run is often used from another place than the one it was trained from.
_Place = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


@settings
class Folder(ImageTasks):
    """Images in folders, one folder a class: `class/x.png`, or `split/class/x.png` with train, val and test.

    Without folders for the splits, classes are dealt to them by a hash of their names: the same on every machine, and
    whatever the folder is called. Images are read once, made grey or RGB, padded to a square, resized, and kept in the
    cache folder. Grey images that are dark on bright are inverted, so that ink is bright.

    Raises:
        DataError: no such folder, no classes, a class without images or with too few for an episode, a file that
            cannot be read as an image, or the same class or file in two splits (naming it).
    """

    path: _Place
    """The folder that holds the classes, or the splits."""
    size: Size = 28
    """Height and width of an item, in pixels."""
    colour: bool = False
    """Whether items keep their colours (3 channels) or are grey (1 channel)."""
    invert: Invert = "auto"
    """Whether to take the negative; "auto" does where grey images are dark on bright."""
    val_fraction: Fraction = 0.2
    """The fraction of classes for validation, where the folder has no splits of its own."""
    test_fraction: Fraction = 0.2
    """The fraction of classes for testing, where the folder has no splits of its own."""

    def __post_init__(self) -> None:
        ImageTasks.__post_init__(self)
        check_fractions(self.val_fraction, self.test_fraction)

    def pools(self) -> Splits:
        files = self._files()
        self._check_counts(files)
        item = (3 if self.colour else 1, self.size, self.size)
        return _pools(files, item, self.invert)

    def _files(self) -> tuple[_File, ...]:
        """The images in the order of splits, classes and names."""
        if any(_holds_classes(self.path / split) for split in Splits._fields):
            splits = {split: class_folders(self.path / split) for split in Splits._fields}
        else:
            splits = _deal(class_folders(self.path), self.val_fraction, self.test_fraction, self.path)
        return tuple(
            _File(split, name, path, stat.st_size, stat.st_mtime_ns)
            for split, classes in splits.items()
            for name, paths in classes.items()
            for path, stat in ((path, path.stat()) for path in paths)
        )

    def _check_counts(self, files: tuple[_File, ...]) -> None:
        """Before a long reading: would every class do for an episode?"""
        shots, queries = (size if isinstance(size, int) else size[1] for size in (self.shots, self.queries))
        for (split, name), have in Counter((file.split, file.name) for file in files).items():
            if self.min_examples <= have < shots + queries:
                raise DataError(
                    f"class {name!r} of {self.path} ({split}) has {have} images, but {shots} support + {queries} query "
                    f"need {shots + queries}. Add images, lower shots or queries, or leave such classes out with "
                    f"min_examples={shots + queries}."
                )


class _File(NamedTuple):
    """An image, and what changes when it is written again."""

    split: str
    name: str  # of its class
    path: Path
    bytes: int
    modified: int


@functools.lru_cache(maxsize=8)
def _pools(files: tuple[_File, ...], item: tuple[int, int, int], invert: Invert) -> Splits:
    x = cached_array(f"folder-{chance.fingerprint(files, item, _READING)}", lambda: _read(files, item))
    if dark_on_bright(x) if invert == "auto" else invert:
        x = 255 - x
    pools = {}
    for split in Splits._fields:
        counts = Counter(file.name for file in files if file.split == split)
        first = sum(file.split in Splits._fields[: Splits._fields.index(split)] for file in files)
        each = np.array(list(counts.values()))
        pools[split] = Pool(x, first + np.cumsum(each) - each, each, list(counts), name=f"folder/{split}")
    # equal files are refused when they are read; small simple pictures may well end up alike
    return check_splits(Splits(**pools), content=False)


def _read(files: tuple[_File, ...], item: tuple[int, int, int]) -> NDArray[np.uint8]:
    """All images [n, c, h, w] in order; the same file in two splits is refused."""
    seen: dict[bytes, _File] = {}
    images = np.empty((len(files), *item), dtype=np.uint8)
    for at, file in enumerate(files):
        try:
            content = file.path.read_bytes()
        except OSError as error:
            raise DataError(f"{file.path} cannot be read ({error.strerror}). Mend that, or remove it.") from None
        twin = seen.setdefault(hashlib.sha256(content).digest(), file)
        if twin.split != file.split:
            raise DataError(
                f"{file.path} ({file.split}) is a copy of {twin.path} ({twin.split}). Remove one: a test on what was "
                "trained on measures memory, not learning."
            )
        images[at] = decode(file.path, item, io.BytesIO(content))
    return images


def _holds_classes(folder: Path) -> bool:
    """Whether a folder is a split (it holds folders) and no class that happens to be called "train"."""
    return folder.is_dir() and any(each.is_dir() and not each.name.startswith(".") for each in folder.iterdir())


def _deal(classes: Classes, val: float, test: float, path: Path) -> dict[str, Classes]:
    """The classes of each split: in the order of their names' hashes the first go to test, the next to val."""
    mend = "sort them into folders train, val and test yourself"
    ends = dealt(classes, val, test, "folder", origin=str(path), mend=mend)
    return {split: {name: classes[name] for name in names} for split, names in ends.items()}
