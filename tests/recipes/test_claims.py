"""docs/claims.md is what the records make of it, and says of every record and every script what came of it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import claims

    yield claims
    for name in ("claims", "of_claims", "of_boards", "leaderboards"):
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
    assert claims.section(missing, claims.read(missing.record))[-2:] == ["Not measured yet.", ""]


def test_a_board_without_records_says_so(claims, monkeypatch, tmp_path):
    monkeypatch.setattr(claims.of_boards.leaderboards, "RECORDS", tmp_path)
    for name in ("sines", "omniglot", "cifar_fs"):
        rows = getattr(claims.of_boards, name)(claims.of_boards.board(name, tmp_path))
        assert len(rows) >= 4
        assert {row.figure for row in rows} == {"not measured yet"}
        assert {row.reached for row in rows} == {None}


def test_a_target_of_a_board_is_judged_by_the_mean_over_seeds(claims):
    found = claims.read("leaderboards/sines")
    row = found.rows["maml"]
    title = "5 points, 10 steps"
    (record,) = row.records[title][:1]
    worse = dataclasses.replace(record.result, values=tuple(value + 0.2 for value in record.result.values))
    records = [record, dataclasses.replace(record, result=worse)]
    row = dataclasses.replace(row, records=row.records | {title: records})
    rows = claims.of_boards.sines(dataclasses.replace(found, rows=found.rows | {"maml": row}))
    (asked,) = (each for each in rows if each.what == f"MAML, {title}")
    assert asked.figure.startswith(f"{record.result.mean + 0.1:.3f}")
    assert not asked.reached
    (divided,) = (each for each in rows if each.what == f"error of Hessian-free iMAML over MAML's, {title}")
    ratio = found.result("imaml-hf", title).mean / (record.result.mean + 0.1)
    assert divided.figure == f"{ratio:.2f}"


def test_the_order_of_two_rows_can_be_the_other(claims):
    found = claims.read("leaderboards/omniglot")
    swapped = found.rows | {"reptile": found.rows["maml"], "maml": found.rows["reptile"]}
    for rows, reached in ((found.rows, True), (swapped, False)):
        told = claims.of_boards.omniglot(dataclasses.replace(found, rows=rows))
        assert [row.reached for row in told if row.what.startswith("Reptile minus MAML")] == [reached] * 2
