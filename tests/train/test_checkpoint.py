"""Checkpoints: whole or absent, verified, and never the end of a run."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from quickstudy.errors import CheckpointError
from quickstudy.train import checkpoint


def save(folder: Path, number: int) -> None:
    checkpoint.write(folder, f"step-{number:08d}", {"w": torch.full((3,), float(number))}, {"number": number})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    save(tmp_path, 7)
    found = checkpoint.read(tmp_path, "step-00000007")
    assert torch.equal(found.tensors["w"], torch.full((3,), 7.0))
    assert found.scalars == {"number": 7}


def test_the_newest_two_are_kept_and_others_left_alone(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, "best-00000003", {"w": torch.ones(1)}, {})
    for number in (5, 10, 15, 20):
        save(tmp_path, number)
    assert checkpoint.names(tmp_path) == ["step-00000015", "step-00000020"]
    assert sorted(path.suffix for path in tmp_path.glob("best-*")) == [".json", ".safetensors"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("damage", ["cut", "flip", "json", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    tensors = tmp_path / "step-00000002.safetensors"
    content = tensors.read_bytes()
    if damage == "cut":
        tensors.write_bytes(content[:-5])
    elif damage == "flip":
        tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "json":
        tensors.with_suffix(".json").write_text("{")
    else:
        tensors.unlink()
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.scalars == {"number": 1}
    assert len(damaged) == 1
    assert "step-00000002" in damaged[0]


def test_all_damaged_is_an_error_and_none_is_not(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) == (None, [])
    save(tmp_path, 1)
    (tmp_path / "step-00000001.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"):
        checkpoint.newest(tmp_path)


def test_a_full_disk_is_one_clear_error_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot be written: No space left on device.*make room"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001.json", "step-00000001.safetensors"]
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert (found.scalars, damaged) == ({"number": 1}, [])


def test_tied_weights_are_saved(tmp_path: Path) -> None:
    tied = torch.arange(6.0).view(2, 3)
    checkpoint.write(tmp_path, "step-00000001", {"a": tied, "b": tied, "c": tied.T}, {})
    found = checkpoint.read(tmp_path, "step-00000001").tensors
    assert torch.equal(found["a"], tied)
    assert torch.equal(found["b"], tied)
    assert torch.equal(found["c"], tied.T)


def test_what_a_killed_process_left_and_what_a_run_went_back_behind_is_removed(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, "best-00000009", {"w": torch.ones(1)}, {})
    for number in (1, 2, 9):
        save(tmp_path, number)
    (tmp_path / ".step-00000003.safetensors.123").write_bytes(b"half")
    (tmp_path / "step-00000004.safetensors").write_bytes(b"no numbers")
    save(tmp_path, 5)
    assert checkpoint.names(tmp_path) == ["step-00000002", "step-00000005"]
    assert checkpoint.names(tmp_path, "best") == ["best-00000009"]
    assert len(list(tmp_path.iterdir())) == 6


def test_a_limit_of_the_system_on_files_is_one_clear_error_too(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits are POSIX's")
    save(tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step-00000002.safetensors cannot be written: File too large"):
            checkpoint.write(tmp_path, "step-00000002", {"w": torch.zeros(5000)}, {"number": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoint.names(tmp_path) == ["step-00000001"]
    assert not list(tmp_path.glob(".*"))
    assert checkpoint.newest(tmp_path)[1] == []


def test_a_file_system_that_cannot_sync_folders_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def only_files(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    save(tmp_path, 3)
    assert checkpoint.read(tmp_path, "step-00000003").scalars == {"number": 3}
