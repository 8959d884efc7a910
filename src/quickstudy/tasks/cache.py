"""Where data lies on this machine, and arrays kept there so that they are made once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstudy.core.files import whole_file

__all__ = ["cache_folder", "cached_array", "data_folder"]


def cache_folder() -> Path:
    """Where downloads and prepared data are kept: `QUICKSTUDY_CACHE`, or the platform's own cache folder."""
    if chosen := os.environ.get("QUICKSTUDY_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "quickstudy"
    if local := os.environ.get("LOCALAPPDATA"):
        return Path(local) / "quickstudy"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quickstudy"


def data_folder() -> Path | None:
    """The folder to read data sets from instead of downloading them: `QUICKSTUDY_DATA`, if it is set."""
    chosen = os.environ.get("QUICKSTUDY_DATA")
    return Path(chosen).expanduser() if chosen else None


def cached_array(name: str, build: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array that `build` makes, memory-mapped from the cache folder, where it is written the first time.

    Args:
        name: A file name that changes whenever the content would (end it in a hash of the settings and sources).
        build: Called when the file is missing or cannot be read.

    The file appears whole or not at all. Where the cache folder cannot be written, the array stays in memory.
    """
    path = cache_folder() / f"{name}.npy"
    try:
        return _mapped(path)
    except (OSError, EOFError, ValueError):  # missing, cut short, or not an array: make it again
        made = build()
    try:
        with whole_file(path) as part, part.open("wb") as file:
            np.save(file, made, allow_pickle=False)
        return _mapped(path)
    except OSError:  # a full disk or a read-only home must not stop the work
        return made


def _mapped(path: Path) -> NDArray[Any]:
    # "c": pages are shared between processes until written to, and torch takes the array as writable
    return np.load(path, mmap_mode="c", allow_pickle=False)  # type: ignore[no-any-return]
