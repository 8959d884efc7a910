"""Cached arrays are made once, appear whole, and never stop the work."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from quickstudy.tasks import cache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def count() -> NDArray[np.int64]:
    return np.arange(6)


def never() -> NDArray[np.int64]:
    raise AssertionError("made again")


def test_made_once_then_mapped(folder: Path):
    first = cache.cached_array("six", count)
    again = cache.cached_array("six", never)
    assert isinstance(first, np.memmap)
    assert isinstance(again, np.memmap)
    assert np.array_equal(again, count())
    assert os.listdir(folder) == ["six.npy"]


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b"x" + b[1:]])
def test_a_damaged_file_is_made_again(folder: Path, damage):  # type: ignore[no-untyped-def]
    cache.cached_array("six", count)
    path = folder / "six.npy"
    path.write_bytes(damage(path.read_bytes()))
    assert np.array_equal(cache.cached_array("six", count), count())
    assert np.array_equal(cache.cached_array("six", never), count())


def test_an_array_stays_in_memory_where_nothing_can_be_written(folder: Path):
    folder.write_text("a file is in the way")
    assert np.array_equal(cache.cached_array("six", count), count())
    assert folder.read_text() == "a file is in the way"


def test_a_full_disk_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def full(file: object, made: object, allow_pickle: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert np.array_equal(cache.cached_array("six", count), count())
    assert os.listdir(folder) == []


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch):
    for name in ("QUICKSTUDY_CACHE", "LOCALAPPDATA", "XDG_CACHE_HOME", "QUICKSTUDY_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache.sys, "platform", "linux")
    assert cache.cache_folder() == Path.home() / ".cache" / "quickstudy"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.cache_folder() == Path("/x/quickstudy")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache.cache_folder() == Path("/local/quickstudy")
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    assert cache.cache_folder() == Path.home() / "Library" / "Caches" / "quickstudy"
    monkeypatch.setenv("QUICKSTUDY_CACHE", "~/mine")
    assert cache.cache_folder() == Path.home() / "mine"
    assert cache.data_folder() is None
    monkeypatch.setenv("QUICKSTUDY_DATA", "~/data")
    assert cache.data_folder() == Path.home() / "data"
