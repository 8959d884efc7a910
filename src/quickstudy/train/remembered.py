"""What was measured on this machine, kept in the cache folder so that it is measured once."""

from __future__ import annotations

import json
import platform
from typing import Any

import torch

from quickstudy.core import chance, files, tree
from quickstudy.core.learner import MetaLearner
from quickstudy.core.settings import dump
from quickstudy.errors import CheckpointError
from quickstudy.tasks.cache import cache_folder

__all__ = ["key_of", "recall", "remember"]

FILE = "speed.json"
MOST = 500
"""Entries kept; the oldest make room."""


def key_of(method: MetaLearner, batch: Any, **settings: Any) -> str:
    """A name for what the speed of a step depends on: machine, threads, torch, method, shapes, and `settings`.

    Args:
        method: Its settings and the shapes of its weights count, not their values.
        batch: A tree of tensors, on the device that computes; their shapes count.
        settings: Plain values.
    """
    device = tree.leaves(batch)[0].device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    chosen = getattr(method, "settings", None)
    return chance.fingerprint(
        {
            "machine": [platform.node(), device.type, name, torch.get_num_threads(), str(torch.__version__)],
            "method": [f"{type(method).__module__}.{type(method).__qualname__}", dump(chosen), str(method)],
            "weights": [[name, list(weight.shape)] for name, weight in method.named_parameters()],
            "batch": [[list(leaf.shape), str(leaf.dtype)] for leaf in tree.leaves(batch)],
            "settings": settings,
        }
    )


def recall(key: str) -> dict[str, Any] | None:
    """What was remembered under a key, if anything."""
    found = _all().get(key)
    return found if isinstance(found, dict) else None


def remember(key: str, measured: dict[str, Any]) -> None:
    """Keep what was measured. Where the cache folder cannot be written it is measured again another time."""
    known = {name: value for name, value in _all().items() if name != key}
    kept = dict(list(known.items())[-(MOST - 1) :]) | {key: measured}
    try:
        files.write(cache_folder() / FILE, json.dumps(kept, indent=1))
    except CheckpointError:  # a full disk or a read-only home must not stop the work
        return


def _all() -> dict[str, Any]:
    try:
        held = json.loads((cache_folder() / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}
