"""Tensors by name, and notes beside them, as bytes: safetensors, nothing pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch

from quickstudy.core.shapes import Tensor

__all__ = ["note", "pack"]


def pack(tensors: Mapping[str, Tensor], **notes: Any) -> bytes:
    """Tensors as safetensors, with notes in their header: the same bytes for the same of both.

    Args:
        tensors: They may share memory, lie anywhere and require gradients.
        notes: What JSON can hold.
    """
    # cloned, because safetensors refuses tensors that share memory, as tied weights do
    kept = {name: each.detach().cpu().contiguous().clone() for name, each in tensors.items()}
    return safetensors.torch.save(kept, {name: json.dumps(each) for name, each in notes.items()} or None)


def note(content: bytes, name: str) -> Any:
    """A note that `pack` wrote; the tensors are read, and checked, by `safetensors.torch.load`.

    Raises:
        ValueError: these bytes have no header that can be read.
        KeyError: no such note is in it.
        TypeError: the header is of another kind.
    """
    size = int.from_bytes(content[:8], "little")
    if not 0 < size <= len(content) - 8:
        raise ValueError(f"{len(content)} bytes are too few for their header")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"][name])
