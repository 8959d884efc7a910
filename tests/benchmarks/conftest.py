"""The benchmarks' and recipes' own modules, within reach of the tests of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "recipes", ROOT / "benchmarks" / "claims", ROOT / "benchmarks")


@pytest.fixture(autouse=True)
def _reach(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """They can be imported by name in each test, and are gone after it."""
    before = set(sys.modules)
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(str(folder))
    yield
    for name in set(sys.modules) - before:
        file = Path(getattr(sys.modules[name], "__file__", None) or "")
        if any(file.is_relative_to(folder) for folder in FOLDERS):
            del sys.modules[name]
