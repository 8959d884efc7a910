"""Checkpoints: written whole or not at all, verified when read, never pickled.

A checkpoint is a pair of files, tensors in `NAME.safetensors` and numbers in `NAME.json`. The second names the
checksum of the first and is written last, so it exists only if the pair is whole. Names carry the step
("step-00000100", "best-00000100"): nothing is written over a checkpoint that may still be needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch

from quickstudy.core import files
from quickstudy.core.packed import pack
from quickstudy.core.shapes import Tensor
from quickstudy.errors import CheckpointError

__all__ = ["Checkpoint", "names", "newest", "read", "write"]

KEPT = 2
"""How many checkpoints of a kind stay: the newest, and one in case it turns out damaged."""


class Checkpoint(NamedTuple):
    """What was saved under a name."""

    tensors: dict[str, Tensor]
    scalars: dict[str, Any]


def write(folder: Path, name: str, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
    """Save a checkpoint; of its kind ("step" for "step-00000100") it and the one before are kept.

    Raises:
        CheckpointError: it cannot be written (a full disk, say). Earlier checkpoints stay as they are.
    """
    content = pack(tensors)
    notes = {"checksum": hashlib.sha256(content).hexdigest(), "scalars": scalars}
    files.write(folder / f"{name}.safetensors", content)
    files.write(folder / f"{name}.json", json.dumps(notes, indent=1))
    _tidy(folder, name)


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


def newest(folder: Path, kind: str = "step") -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint of a kind that can be read, and what was wrong with newer ones.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    damaged: list[str] = []
    for name in reversed(names(folder, kind)):
        try:
            return read(folder, name), damaged
        except CheckpointError as error:
            damaged.append(str(error))
    if damaged:
        raise CheckpointError(f"no checkpoint in {folder} can be read. " + " ".join(damaged))
    return None, damaged


def names(folder: Path, kind: str = "step") -> list[str]:
    """The checkpoints of a kind in a folder, oldest first."""
    return sorted(path.stem for path in folder.glob(f"{kind}-*.json"))


def _tidy(folder: Path, name: str) -> None:
    """Remove what a checkpoint just written makes needless: older ones, later ones (the run went back behind them),
    and what a killed process left half-written."""
    kind = name.partition("-")[0]
    every = names(folder, kind)
    stay = every[: every.index(name) + 1][-KEPT:]
    for path in sorted(folder.iterdir()):  # numbers go before their tensors: no pair is ever half there
        if path.name.startswith((f"{kind}-", f".{kind}-")) and path.stem not in stay:
            with contextlib.suppress(OSError):  # a needless file is no reason to stop
                path.unlink()
