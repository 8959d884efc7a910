"""Tasks from arrays of your own: features that some other model made, or anything else that has classes."""

from __future__ import annotations

import functools
import os
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from quickstudy.core.settings import Count, Fraction, settings
from quickstudy.errors import DataError
from quickstudy.tasks.fewshot import FewShotTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits, check_fractions, check_splits, dealt

__all__ = ["Features"]

# A run is often used from another place than the one it was trained from.
_Place = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


@settings
class Features(FewShotTasks):
    """Arrays of your own, `x` [n, *item] and `y` [n] in one .npz file: features of a frozen model, for instance.

    Labels are whole numbers or text. An array `split` [n] in the file says of each example whether it is for "train",
    "val" or "test". Without it classes are dealt to the three by a hash of their names and `deal`: the same on every
    machine, and whatever the file is called. No class is in two splits. The file is held in memory.

    Raises:
        DataError: no such file, arrays missing or of other shapes, a class in two splits (naming it), or a split
            without classes.
    """

    path: _Place
    """The .npz file, as numpy.savez writes it."""
    deal: Count = 0
    """Another number deals the classes otherwise, where the file does not say which are for what."""
    val_fraction: Fraction = 0.2
    """The fraction of classes for validation, where the file does not say."""
    test_fraction: Fraction = 0.2
    """The fraction of classes for testing, where the file does not say."""

    def __post_init__(self) -> None:
        FewShotTasks.__post_init__(self)
        check_fractions(self.val_fraction, self.test_fraction)

    def pools(self) -> Splits:
        try:
            written = os.stat(self.path)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror}). Expected an .npz file.") from None
        changes = written.st_size, written.st_mtime_ns
        return _pools(self.path, changes, self.deal, self.val_fraction, self.test_fraction)


@functools.lru_cache(maxsize=4)
def _pools(path: Path, changes: tuple[int, int], deal: int, val: float, test: float) -> Splits:
    arrays = _read(path)
    x, y = arrays["x"], arrays["y"].astype(str)
    if "split" in arrays:
        split = arrays["split"].astype(str)
        _check_split(path, split)
    else:
        mend = 'give the file an array `split` of "train", "val" and "test"'
        ends = dealt(np.unique(y).tolist(), val, test, "features", deal, origin=str(path), mend=mend)
        of = {name: part for part, names in ends.items() for name in names}
        split = np.array([of[name] for name in y.tolist()])
    parts = {part: split == part for part in Splits._fields}
    pools = {part: Pool.from_arrays(x[at], y[at], name=f"features/{part}") for part, at in parts.items()}
    # Features of different things may be equal: a model need not see all that there is to see.
    return check_splits(Splits(**pools), content=False)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the file, as long as each other."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("x", "y", "split") if name in archive.files}
            held = ", ".join(archive.files) or "nothing"
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read as arrays ({error}). Expected what numpy.savez(path, x=..., y=...) writes, with "
            "labels that are whole numbers or text."
        ) from None
    if "x" not in arrays or "y" not in arrays:
        raise DataError(f"{path} holds {held}; expected x [n, *item] and y [n]. Save both under these names.")
    if arrays["y"].ndim != 1 or arrays["y"].dtype.kind not in "biuU":
        raise DataError(
            f"{path}: y is {arrays['y'].dtype} of shape {arrays['y'].shape}; expected one whole number or text an "
            "example [n]. Use argmax(-1) on one-hot labels, and astype(int) on whole floats."
        )
    for name, array in arrays.items():
        if array.shape[:1] != arrays["x"].shape[:1]:
            raise DataError(
                f"{path}: {name} has shape {array.shape} where x has {arrays['x'].shape}; expected as many entries as "
                "there are examples."
            )
    return arrays


def _check_split(path: Path, split: NDArray[np.str_]) -> None:
    if split.ndim != 1:
        raise DataError(f"{path}: split has shape {split.shape}; expected one entry an example [n].")
    found = set(np.unique(split).tolist())
    for part in sorted(found - set(Splits._fields)):
        raise DataError(f'{path}: split holds {part!r}; expected "train", "val" or "test" for each example.')
    for part in sorted(set(Splits._fields) - found):
        raise DataError(f"{path}: split gives no example to {part!r}. Each of train, val and test needs classes.")
