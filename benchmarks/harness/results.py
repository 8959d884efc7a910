"""Result files: what was measured, on which machine, with which versions."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.environments import Environments

__all__ = ["FOLDER", "read", "write"]

FOLDER = Path(__file__).resolve().parent.parent / "results"


def write(name: str, found: dict[str, Any], environments: Environments, quick: bool) -> Path:
    """Write one part's figures, beside what they depend on. Quick runs are kept apart: their figures mean nothing."""
    folder = FOLDER.parent.parent / "build" / "bench" / "quick" if quick else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"part": name, "machine": machine(), "versions": environments.versions(), "quick": quick} | found
    path = folder / f"{name}.json"
    path.write_text(json.dumps(_rounded(whole), indent=1) + "\n")
    return path


def read(name: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    except OSError:
        return None
    return found


def machine() -> dict[str, Any]:
    """The processor, its number, the memory, the load and the day."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(int((_first("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": 1,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _first(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _rounded(value: Any) -> Any:
    """Five significant digits are more than any figure here deserves."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
