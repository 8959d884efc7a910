"""evaluate, compare, report, adapt and demo on runs trained for a moment."""

from __future__ import annotations

import csv
import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quickstudy.cli import demo, main, recipe
from quickstudy.core.settings import load
from quickstudy.evaluate.record import Comparison, Record
from quickstudy.train.run import Run, RunSettings, build_method
from quickstudy.train.settings import Training
from quickstudy.train.state import TrainState


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(folder: str, method: str = "maml", tasks: str = "sines", steps: int = 2, **net: Any) -> Run:
    """A run as `train` leaves it behind."""
    chosen = {"name": method, **({"rule": {"name": "sgd", "rate": 0.01}} if method == "maml" else {})}
    settings = RunSettings(
        method=load("method", chosen),
        tasks=load("tasks", {"name": tasks, "queries": 3}),
        net=load("net", {"name": "mlp", "hidden": [8], **net}),
        training=Training(steps=steps, batch=2),
    )
    run = Run.create(folder, settings)
    run.log({"step": 1, "loss": 1.0, "grad_norm": 1.0, "rate": 0.001, "seconds": 0.1})
    run.save(TrainState(build_method(settings), settings.training))
    return run


def test_what_a_method_measures_of_itself_is_shown_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    trained("run", "imaml")
    assert main(["evaluate", "run", "--episodes", "3", "--no-floors", "--no-curves"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    first, second = Record.read("run/evaluation.json").examined
    said = f"Measured by the method itself: {first.name} {first.mean:#.3g}".rstrip(".")
    assert said in out
    assert f", {second.name} " in out
    for file in ("report.html", "report.md"):
        assert said in Path("run", file).read_text(encoding="utf-8")


def test_evaluate_leaves_a_record_and_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    trained("run")
    assert main(["evaluate", "run", "--episodes", "4", "--shots", "2", "--minutes-for-floors", "0.001"]) == 0
    out = capsys.readouterr().out
    record = Record.read("run/evaluation.json")
    assert (record.protocol.episodes, record.protocol.shots, record.protocol.queries) == (4, 2, 3)
    assert len(record.result.values) == 4
    names = [floor.name for floor in record.floors]
    assert names == ["no adaptation", "linear probe", "fine-tuning"]
    assert all(f"\n{name} " in out for name in ("run", *names))
    assert "2-shot, 4 test episodes" in out
    assert record.curves.steps is not None
    assert record.learning[0].step == 1
    assert record.run.method_settings["likelihood"] == "gaussian"
    for file in ("report.html", "report.md", "report.json"):
        assert Path("run", file).exists()
    assert "Report: run/report.html" in out


def test_evaluate_says_what_predictions_are_worth_at_a_temperature_of_validation_tasks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from quickstudy.cli import assess

    asked = []
    real = assess.fitted
    monkeypatch.setattr(assess, "fitted", lambda *given: (asked.append(given[1]), real(*given))[1])
    for folder, method, tasks in (("waves", "maml", "sines"), ("marks", "protonet", "glyphs")):
        trained(folder, method, tasks)
        line = ["evaluate", folder, "--episodes", "6", "--shots", "2", "--split", "val", "--no-floors", "--no-curves"]
        assert main(line) == 0
        out = " ".join(capsys.readouterr().out.split())
        record = Record.read(f"{folder}/evaluation.json")
        found = record.recalibrated
        assert found is not None
        assert (found.calibration is None, found.intervals == ()) == (tasks == "sines", tasks == "glyphs")
        assert found.nll != record.result.nll
        said = f"At a temperature of {found.temperature:.3g}, fitted on 6 validation tasks: "
        assert said in out
        for file in ("report.html", "report.md"):
            assert said in Path(folder, file).read_text(encoding="utf-8")
        # of the validation split, and not those reported, even where these are of it too
        chosen = load("tasks", {"name": tasks, "queries": 3, "shots": 2})
        assert asked[-1].digest(range(6)) == chosen.source("val", 1).digest(range(6)) != record.protocol.digest
    monkeypatch.setattr(assess, "fitted", lambda *given: None)
    assert main(["evaluate", "waves", "--episodes", "2", "--no-floors", "--no-curves"]) == 0
    assert Record.read("waves/evaluation.json").recalibrated is None
    assert "At a temperature" not in capsys.readouterr().out


def test_json_and_nothing_else_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    trained("run")
    assert main(["evaluate", "run", "--episodes", "2", "--no-floors", "--no-curves", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(Path("run/evaluation.json").read_text())
    assert found["floors"] == []
    assert found["result"]["mean"] == pytest.approx(np.mean(found["result"]["values"]))


def test_compare_takes_the_same_episodes_and_evaluates_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("a")
    trained("b", hidden=[4])
    assert main(["evaluate", "a", "--episodes", "5", "--no-floors", "--no-curves"]) == 0
    from quickstudy.cli import assess

    asked = []
    real = assess.assess
    monkeypatch.setattr(assess, "assess", lambda run, *rest: (asked.append(run.folder.name), real(run, *rest))[1])
    capsys.readouterr()
    assert main(["compare", "a", "b", "--episodes", "5", "--json", "--out", "both"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert asked == ["b"]
    values = [entry["result"]["values"] for entry in found["results"]]
    assert found["pairs"][0]["difference"] == pytest.approx(np.mean(np.subtract(*values)))
    assert found["results"][0]["result"] == json.loads(Path("a/evaluation.json").read_text())["result"]

    comparison = Comparison.read("both/comparison.json")
    assert [c.result.name for c in comparison.results] == ["a", "b"]
    Path("both/report.html").unlink()
    assert main(["report", "both"]) == 0
    assert Path("both/report.html").exists()
    assert main(["compare", "a", "b", "--episodes", "5"]) == 0
    out = capsys.readouterr().out
    assert "a - b" in out
    assert "p (Holm)" in out


def test_runs_that_share_a_name_are_called_by_their_paths(capsys: pytest.CaptureFixture[str]) -> None:
    trained("x/run")
    trained("y/run")
    assert main(["compare", "x/run", "y/run", "--episodes", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["result"]["name"] for entry in found["results"]] == ["x/run", "y/run"]


def test_runs_of_other_tasks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    trained("a")
    trained("b", "protonet", "glyphs")
    assert main(["compare", "a", "b", "--episodes", "2"]) == 1
    assert "b learns categorical tasks on items of shape (1, 28, 28); these are gaussian" in capsys.readouterr().err


def test_a_fixed_number_of_ways_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    trained("run", "maml", "glyphs")
    assert main(["evaluate", "run", "--ways", "4", "--episodes", "2", "--no-floors"]) == 1
    assert "takes no other number; got 4. Evaluate it with --ways 5" in capsys.readouterr().err


def test_report_again(capsys: pytest.CaptureFixture[str]) -> None:
    trained("run")
    assert main(["evaluate", "run", "--episodes", "2", "--no-floors", "--no-curves", "--quiet"]) == 0
    before = Path("run/report.html").read_text()
    Path("run/report.html").unlink()
    assert main(["report", "run"]) == 0
    assert Path("run/report.html").read_text() == before
    Path("run/evaluation.json").write_text("{}")
    assert main(["report", "run"]) == 1
    assert "version" in capsys.readouterr().err


def bars(folder: Path, invert: bool = False, counts: tuple[int, ...] = (1, 3, 2)) -> None:
    """Classes of vertical bars at different places, with different numbers of examples."""
    for place, count in enumerate(counts):
        for number in range(count):
            page = np.zeros((28, 28), dtype=np.uint8)
            page[4 + number : 24, 4 + 8 * place : 8 + 8 * place] = 255
            file = folder / "known" / "abc"[place] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - page if invert else page).save(file)
        page[:8] = 0
        (folder / "asked").mkdir(exist_ok=True)
        Image.fromarray(255 - page if invert else page).save(folder / "asked" / f"{'abc'[place]}.png")


@pytest.mark.parametrize("invert", [False, True])
def test_adapt_tells_new_classes_apart(capsys: pytest.CaptureFixture[str], invert: bool) -> None:
    trained("run", "protonet", "glyphs")
    bars(Path(), invert)
    assert main(["adapt", "run", "known", "asked", "--csv", "-"]) == 0
    said = capsys.readouterr()
    rows = list(csv.DictReader(said.out.splitlines()))
    assert [(Path(row["file"]).name, row["class"]) for row in rows] == [("a.png", "a"), ("b.png", "b"), ("c.png", "c")]
    for row in rows:
        probabilities = {name: float(row[name]) for name in "abc"}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert float(row["probability"]) == max(probabilities.values()) == probabilities[row["class"]]
    assert ("taking the negative" in said.err) == invert


def test_adapt_with_fewer_classes_than_were_trained_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Slots without a class are left out and the others' probabilities share what they had."""
    trained("run", "maml", "glyphs")
    bars(Path())
    assert main(["adapt", "run", "known", "asked/a.png", "--csv", "out.csv"]) == 0
    assert "1 prediction written to out.csv" in capsys.readouterr().out
    row = next(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert sum(float(row[name]) for name in "abc") == pytest.approx(1, abs=1e-5)


def test_adapt_shows_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    trained("run", "protonet", "glyphs")
    bars(Path())
    assert main(["adapt", "run", "known", "asked/b.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["File", "Class", "Probability", "Known", "Next"]
    assert lines[1].split()[:2] == ["asked/b.png", "b"]


def test_adapt_flags_what_belongs_to_no_class(capsys: pytest.CaptureFixture[str]) -> None:
    """By raw pixels with nothing learned: bars are near bars, and noise is near nothing."""
    settings = RunSettings(
        method=load("method", {"name": "protonet", "learn_temperature": True}),
        tasks=load("tasks", {"name": "glyphs", "queries": 3}),
        net=load("net", "flatten"),
    )
    run = Run.create("run", settings)
    run.save(TrainState(build_method(settings), settings.training))
    bars(Path())
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    Image.fromarray(pixels).save("asked/noise.png")
    assert main(["adapt", "run", "known", "asked", "--invert", "no", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["known"] for row in said] == [True, True, True, False]
    assert [row["familiarity"] >= 0 for row in said] == [True, True, True, False]
    assert said[0]["probabilities"].keys() == {"a", "b", "c"}
    kept = json.loads(Path("run/calibration.json").read_text())
    ((name, first),) = kept.items()
    assert first.keys() == {"score", "threshold", "auroc", "temperature"}
    kept[name]["threshold"] = 1e9  # it is read again, not measured again: now nothing is familiar
    Path("run/calibration.json").write_text(json.dumps(kept))
    assert main(["adapt", "run", "known", "asked", "--invert", "no", "--csv", "-"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["known"] for row in rows] == ["no"] * 4
    assert main(["adapt", "run", "known", "asked/a.png"]) == 0
    assert "1 of 1 seems to belong to no class" in capsys.readouterr().out


def test_evaluate_measures_foreign_queries(capsys: pytest.CaptureFixture[str]) -> None:
    trained("run", "protonet", "glyphs")
    assert main(["evaluate", "run", "--episodes", "4", "--no-floors", "--no-curves", "--quiet"]) == 0
    found = Record.read("run/evaluation.json").novelty
    assert found is not None
    assert 0 <= found.auroc <= 1
    assert f"with AUROC {found.auroc:.3f}" in capsys.readouterr().out
    assert main(["evaluate", "run", "--episodes", "4", "--no-floors", "--no-curves", "--no-novelty", "--quiet"]) == 0
    assert Record.read("run/evaluation.json").novelty is None


def test_adapt_needs_classes(capsys: pytest.CaptureFixture[str]) -> None:
    trained("waves")
    bars(Path())
    assert main(["adapt", "waves", "known", "asked"]) == 1
    assert "waves learns real values, not classes" in capsys.readouterr().err


@pytest.mark.parametrize("tasks", ["glyphs", "omniglot"])
def test_the_demos_recipes_are_recipes(tasks: str) -> None:
    asked = recipe.checked(demo.recipe(tasks))
    assert type(asked.run.method).__name__ == "ProtoNet"
    assert asked.run.train["ways"] == 60
    assert demo.recipe(tasks, minutes=1)["minutes"] == 1


def test_the_demo_does_all_of_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = demo.recipe("glyphs")
    small = {"net": {"name": "conv4", "width": 4}, "train": {"ways": 5, "queries": 2}, "steps": 2, "validate_every": 0}
    monkeypatch.setattr(
        demo, "recipe", lambda tasks, minutes: {**real, **small, "tasks": {"name": "glyphs", "queries": 2}}
    )
    monkeypatch.setattr(demo, "FLOOR_MINUTES", 0.001)
    assert main(["demo", "--episodes", "2", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "scripts that it has never seen" in out
    assert "fine-tuning" in out
    assert "Report: runs/demo-glyphs/report.html" in out
    assert "quickstudy adapt runs/demo-glyphs" in out
    record = Record.read("runs/demo-glyphs/evaluation.json")
    assert len(record.floors) == 5
    assert len(record.episodes) > 0
    monkeypatch.setattr(demo, "find_spec", {"uvicorn": None}.get)  # as where the extra `serve` is not installed
    assert main(["demo", "--episodes", "2", "--quiet"]) == 0  # trained already: evaluated again
    said = capsys.readouterr().out
    assert ("pip install" in out) == (find_spec("uvicorn") is None)
    assert said.index("pip install 'quickstudy[serve]'") < said.index("quickstudy serve runs/demo-glyphs")
    again = Record.read("runs/demo-glyphs/evaluation.json")
    assert dataclasses.replace(again.result, seconds=0) == dataclasses.replace(record.result, seconds=0)
