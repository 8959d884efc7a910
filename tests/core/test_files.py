"""Files appear whole or not at all, and a file that cannot be written is one clear error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quickstudy.core import files
from quickstudy.errors import CheckpointError


def test_what_is_written_takes_the_place_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with files.whole_file(path) as part:
        part.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"

    def broken() -> None:
        with files.whole_file(path) as part:
            part.write_text("two")
            raise KeyError("half way")

    with pytest.raises(KeyError, match="half way"):
        broken()
    assert path.read_text() == "one"
    assert os.listdir(path.parent) == ["file"]


def test_a_file_that_cannot_be_written_is_one_clear_error_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(tmp_path / "a.txt", "old")
    monkeypatch.setattr(Path, "replace", lambda *to: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CheckpointError, match=r"a.txt cannot be written: No space left on device.*make room"):
        files.write(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(CheckpointError, match=r"a.txt/b cannot be written: File exists.*another folder"):
        files.write(tmp_path / "a.txt" / "b", "new")
