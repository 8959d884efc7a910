"""A run served as it is, without having been bundled: calibrated once, and what is found stays in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi comes with the extra `serve`")
pytest.importorskip("prometheus_client", reason="prometheus_client comes with the extra `serve`")

from bundle.made import glyphs_run
from quickstudy.bundle import Bundle, calibration
from quickstudy.cli import serve
from quickstudy.errors import DataError
from quickstudy.serve import models
from quickstudy.serve.metrics import Metrics
from quickstudy.serve.models import Models
from quickstudy.train.run import Run

SIZES = ((2, 1), (5, 1))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder. Two sizes will do for a test."""
    for module in (models, calibration):
        monkeypatch.setattr(module, "SIZES", SIZES)
    return glyphs_run(tmp_path / "run").folder


def kept(run: Path) -> Any:
    return json.loads((run / "calibration.json").read_text())


def test_its_learners_say_what_belongs_to_no_class(run: Path, tmp_path: Path) -> None:
    served = Models([run], tmp_path / "versions", Metrics()).newest("run")
    assert [(each.ways, each.shots) for each in served.calibrations] == list(SIZES)
    found = kept(run)
    assert len(found) == 2
    bundled = Bundle.of_run(Run.open(run), sizes=SIZES)
    assert bundled.calibrations == served.calibrations
    assert kept(run) == found
    copy = Bundle.load(tmp_path / "versions" / "run" / served.version)
    assert copy.calibrations == served.calibrations


def test_not_where_nobody_asks_for_it(run: Path, tmp_path: Path) -> None:
    assert Models([run], tmp_path / "versions", Metrics(), calibration=False).newest("run").calibrations == ()
    assert not (run / "calibration.json").exists()


def test_a_bundle_keeps_what_it_came_with(run: Path, tmp_path: Path) -> None:
    Bundle.of_run(Run.open(run), name="made").save(tmp_path / "made")
    assert Models([tmp_path / "made"], tmp_path / "versions", Metrics()).newest("made").calibrations == ()


def test_the_command_does_it_before_it_serves(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve._calibrate([run, tmp_path / "nowhere"])
    assert len(kept(run)) == 2
    assert capsys.readouterr().out == ""


def test_it_is_said_where_it_cannot_be_done(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibration, "_sources", lambda run, sizes: iter(()))  # as where there are no validation data
    serve._calibrate([run])
    assert not (run / "calibration.json").exists()
    said = capsys.readouterr().out
    assert str(run) in said
    assert "quickstudy bundle" in said


def test_a_folder_that_may_only_be_read_is_calibrated_all_the_same(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*values: Any) -> None:
        raise DataError("read-only")

    monkeypatch.setattr(calibration.files, "write", refuse)
    assert Bundle.of_run(Run.open(run), sizes=SIZES).calibrations
    assert not (run / "calibration.json").exists()
