"""Records say the same before and after the disk, and damaged ones say what is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from quickstudy.errors import DataError
from quickstudy.evaluate import record as r

RUN = r.RunInfo(
    "m", "maml", {"steps": 5}, {"name": "mlp"}, "none", False, {"name": "sines"}, {"steps": 9}, 9, 1.5, 0, 1761
)
PROTOCOL = r.ProtocolInfo({"name": "sines"}, "test", None, 5, (5, 10), 2, 0, "f", "d")
RESULT = r.Result("m", "accuracy", 0.5, 0.25, 0.75, 0.1, None, (0.4, 0.6), 0.7, 0.1, "d")


def full() -> r.Record:
    return r.Record(
        run=RUN,
        protocol=PROTOCOL,
        machine=r.Machine.here(),
        result=RESULT,
        floors=(RESULT,),
        curves=r.Curves(r.Curve((0, 1), (0.2, 0.5), (0.1, 0.4), (0.3, 0.6), {"probe": (0.2, 0.3)}), None),
        calibration=r.Calibration((r.Bin(0.0, 1.0, 4, 0.5, 0.6),), 0.1, 0.7, 0.3),
        examined=(r.Figure("slope left", 0.1, 0.0, 0.2),),
        learning=(r.Learned(1, 0.5, 0.1), r.Validated(1, 0.5, 0.4, 0.6)),
        episodes=(
            r.DrawnEpisode(("a",), (r.DrawnSupport("data:,", 0),), (r.DrawnQuery("data:,", 0, 0, 0.9),)),
            r.DrawnPoints(((0.0, 1.0),), ((1.0, 1.0),), ((0.0, 1.0),)),
        ),
    )


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    full().save(tmp_path / "evaluation.json")
    assert r.Record.read(tmp_path / "evaluation.json") == full()
    assert [entry.name for entry in tmp_path.iterdir()] == ["evaluation.json"]


def test_the_schema_is_the_documented_one() -> None:
    values = full().to_json()
    assert list(values) == [
        "version", "run", "protocol", "machine", "result", "floors", "curves", "calibration",
        "intervals", "recalibrated", "novelty", "examined", "learning", "episodes",
    ]  # fmt: skip
    assert values["learning"] == [
        {"step": 1, "loss": 0.5, "seconds": 0.1},
        {"step": 1, "validation": 0.5, "low": 0.4, "high": 0.6},
    ]
    assert values["curves"]["shots"] is None
    assert values["result"]["class_high"] is None
    assert values["protocol"]["queries"] == [5, 10]
    assert list(values["machine"]) == ["processor", "cores", "threads", "torch", "quickstudy", "device"]


def test_what_is_not_finite_is_null_in_the_file_and_nan_here(tmp_path: Path) -> None:
    diverged = dataclasses.replace(RESULT, mean=math.nan, nll=math.inf, values=(0.5, math.nan))
    dataclasses.replace(full(), result=diverged).save(tmp_path / "r.json")
    values = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)["result"]
    assert values["mean"] is None
    assert values["values"] == [0.5, None]
    back = r.Record.read(tmp_path / "r.json").result
    assert math.isnan(back.mean)
    assert math.isnan(back.nll)
    assert math.isnan(back.values[1])


def test_a_comparison_comes_back_as_it_was(tmp_path: Path) -> None:
    pair = r.Pair("m", "n", 0.1, 0.05, 0.15, 0.01, 0.02)
    made = r.Comparison(PROTOCOL, r.Machine.here(), (r.Competitor(RUN, RESULT),), (pair,))
    made.save(tmp_path / "comparison.json")
    assert r.Comparison.read(tmp_path / "comparison.json") == made
    assert r.Comparison.from_json(made.to_json()) == made


def test_a_bad_file_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file.*quickstudy evaluate"):
        r.Record.read(tmp_path / "absent.json")
    (tmp_path / "cut.json").write_text('{"version": 1, "run"')
    with pytest.raises(DataError, match=r"cut\.json: cannot be read as JSON"):
        r.Record.read(tmp_path / "cut.json")
    with pytest.raises(DataError, match="got version 7, expected 1"):
        r.Record.from_json({"version": 7})
    with pytest.raises(DataError, match="got version None"):
        r.Comparison.from_json([])
    broken = full().to_json()
    del broken["result"]["mean"]
    with pytest.raises(DataError, match=r"result\.mean: field required"):
        r.Record.from_json(broken)


def test_the_machine_has_a_processor_and_cores() -> None:
    here = r.Machine.here()
    assert here.processor
    assert here.cores >= 1
    assert here.device == "cpu"
