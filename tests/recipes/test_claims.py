"""docs/claims.md is what the records make of it, and says of every record and every script what came of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import claims

    yield claims
    for name in ("claims", "of_claims"):
        sys.modules.pop(name, None)


def test_the_page_is_up_to_date(claims):
    written = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert claims.page() == written, "run python recipes/claims.py"


def test_every_record_and_every_script_has_its_place(claims):
    records = {f"claims/{path.stem}" for path in (ROOT / "docs" / "records" / "claims").glob("*.json")}
    assert records <= {claim.record for claim in claims.CLAIMS}
    scripts = [path for path in (ROOT / "benchmarks" / "claims").glob("*.py") if '"__main__"' in path.read_text()]
    assert len(scripts) >= 8
    for script in scripts:
        assert any(script.name in claim.command for claim in claims.CLAIMS), script.name


def test_targets_can_be_missed(claims):
    """A figure on the other side of its target is not reached."""
    record = {"excess": 0.049, "after so many points": {}}
    (good,) = claims.of.posterior(record)
    (bad,) = claims.of.posterior(record | {"excess": 0.051})
    assert good.reached
    assert not bad.reached


def test_what_is_not_measured_says_so(claims):
    missing = claims.Claim("T", "Says.", "command", "claims/none-such", claims.of.posterior)
    assert claims.section(missing)[-2:] == ["Not measured yet.", ""]
