"""The pages of results and of leaderboards are those that their records make."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def recipes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    yield
    for name in ("results", "leaderboards"):
        sys.modules.pop(name, None)


def test_results_and_the_readme_are_up_to_date():
    import results

    records = results.read()
    assert results.page(records) == results.PAGE.read_text(encoding="utf-8"), "run python recipes/results.py"
    readme = results.README.read_text(encoding="utf-8")
    assert results.with_table(readme, records) == readme, "run python recipes/results.py"


def test_leaderboards_are_up_to_date():
    import leaderboards

    assert leaderboards.page() == leaderboards.PAGE.read_text(encoding="utf-8"), "run python recipes/leaderboards.py"
