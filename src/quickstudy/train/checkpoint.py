"""Checkpoints: written whole or not at all, verified when read, never pickled.

A checkpoint is a pair of files, tensors in `NAME.safetensors` and numbers in `NAME.json`. The second names the
checksum of the first and is written last, so it exists only if the pair is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch

from quickstudy.core.shapes import Tensor
from quickstudy.errors import CheckpointError

__all__ = ["Checkpoint", "names", "newest", "read", "write", "write_file"]

KEPT = 2
"""How many numbered checkpoints stay: the newest, and one in case it turns out damaged."""


class Checkpoint(NamedTuple):
    """What was saved under a name."""

    tensors: dict[str, Tensor]
    scalars: dict[str, Any]


def write(folder: Path, name: str, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
    """Save a checkpoint; of numbered ones ("step-000100") only the newest two are kept.

    Raises:
        CheckpointError: it cannot be written (a full disk, say). Earlier checkpoints stay as they are.
    """
    content = safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    notes = {"checksum": hashlib.sha256(content).hexdigest(), "scalars": scalars}
    write_file(folder / f"{name}.safetensors", content)
    write_file(folder / f"{name}.json", json.dumps(notes, indent=1).encode())
    for old in names(folder)[:-KEPT]:
        for ending in ("json", "safetensors"):
            (folder / f"{old}.{ending}").unlink(missing_ok=True)


def read(folder: Path, name: str) -> Checkpoint:
    """The checkpoint of this name.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        notes = json.loads((folder / f"{name}.json").read_bytes())
        content = (folder / f"{name}.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != notes["checksum"]:
            raise ValueError("its tensors do not match their checksum")
        return Checkpoint(safetensors.torch.load(content), notes["scalars"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint {folder / name} cannot be read: {error}. Use an earlier one, or train again."
        ) from error


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest numbered checkpoint that can be read, and what was wrong with newer ones.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    damaged: list[str] = []
    for name in reversed(names(folder)):
        try:
            return read(folder, name), damaged
        except CheckpointError as error:
            damaged.append(str(error))
    if damaged:
        raise CheckpointError(f"no checkpoint in {folder} can be read. " + " ".join(damaged))
    return None, damaged


def names(folder: Path) -> list[str]:
    """The numbered checkpoints of a folder, oldest first."""
    return sorted(path.stem for path in folder.glob("step-*.json"))


def write_file(path: Path, content: bytes) -> None:
    """Put a file in place in one move, so that whoever reads it finds the old content or the new one.

    Raises:
        CheckpointError: it cannot be written; what stood there before still does.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror or error}. What was saved before is untouched; make room or "
            "mend the permissions, then resume."
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets folders be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
