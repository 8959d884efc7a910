"""A server killed in mid-load: what it acknowledged is as it was, to the bit. More: benchmarks/serving/faults.py."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")
pytest.importorskip("fastapi", reason="fastapi comes with the extra `serve`")

FOLDER = Path(__file__).parents[2] / "benchmarks" / "serving"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's parts."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("faults")
    for name in set(sys.modules) - before:
        if name in {path.stem for path in FOLDER.glob("*.py")}:
            del sys.modules[name]


def test_killed_in_mid_load_and_restarted(faults: Any, tmp_path: Path) -> None:
    found = faults.killed(tmp_path, seconds=1, rounds=1, batch=1)
    after = found["after the last restart"]
    assert after["tensors equal, bit for bit"] > 0
    assert after["answers equal, bit for bit"] > 0
