"""bundle, export and adapt with bundles: a run becomes a folder that needs no data, and a program."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.made import glyphs_run
from quickstudy import Bundle
from quickstudy.cli import main
from quickstudy.train.run import Run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def bars(ground: int = 0, classes: str = "abc") -> None:
    """A folder with two bars of each class at its own place, and one to ask about."""
    for place, name in enumerate(classes):
        for number in range(3):
            page = np.full((28, 28), ground, dtype=np.uint8)
            page[4 + number : 24, 2 + 6 * place : 6 + 6 * place] = 255 - ground
            file = Path("asked" if number == 2 else f"known/{name}", f"{name}{number}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(page).save(file)


def rows(said: str) -> list[dict[str, str]]:
    return list(csv.DictReader(said.splitlines()))


def test_a_run_becomes_a_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    glyphs_run(Path("run"))
    assert main(["bundle", "run", "letters", "--sizes", "2x1", "5x1", "--licence", "MIT"]) == 0
    out = capsys.readouterr().out
    made = Bundle.load("letters")
    assert (made.name, made.licence) == ("letters", "MIT")
    assert [(each.ways, each.shots) for each in made.calibrations] == [(2, 1), (5, 1)]
    assert made.version in out
    assert "protonet on mlp" in out
    assert "quickstudy adapt letters" in out
    assert main(["bundle", "letters", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == made.version == Bundle.open("run").version
    assert told["method"]["name"] == "protonet"
    assert told["provenance"]["data"] == Run.open("run").episodes
    assert [each["ways"] for each in told["novelty"]] == [2, 5]


def test_adapt_with_a_bundle_is_adapt_with_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    glyphs_run(Path("run"), name="flatten")
    bars()
    assert main(["bundle", "run", "b", "--sizes", "3x2"]) == 0
    capsys.readouterr()
    assert main(["adapt", "run", "known", "asked", "--csv", "-"]) == 0
    by_run = capsys.readouterr()
    shutil.rmtree("run")
    assert main(["adapt", "b", "known", "asked", "--csv", "-"]) == 0
    by_bundle = capsys.readouterr()
    assert by_bundle.out == by_run.out
    assert [row["class"] for row in rows(by_bundle.out)] == ["a", "b", "c"]
    assert {row["known"] for row in rows(by_bundle.out)} == {"yes"}


def test_adapt_with_a_bundle_takes_ink_on_paper(capsys: pytest.CaptureFixture[str]) -> None:
    glyphs_run(Path("run"), name="flatten")
    assert main(["bundle", "run", "b", "--no-calibration"]) == 0
    bars(ground=255)
    capsys.readouterr()
    assert main(["adapt", "b", "known", "asked", "--csv", "-"]) == 0
    said = capsys.readouterr()
    assert "taking the negative" in said.err
    assert "not flagged" in said.err
    assert [row["class"] for row in rows(said.out)] == [*"abc"]


def refused(capsys: pytest.CaptureFixture[str], line: str, *words: str) -> None:
    assert main(line.split()) == 1
    said = capsys.readouterr().err
    for word in words:
        assert word in said


def test_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    glyphs_run(Path("run"), "maml")
    bars(classes="ab")
    refused(capsys, "bundle run", "run is a run", "quickstudy bundle run OUT")
    refused(capsys, "bundle none", "holds no bundle")
    refused(capsys, "bundle none b", "none holds no run")
    refused(capsys, "bundle run b --sizes 5by1", "expected WAYSxSHOTS")
    refused(capsys, "bundle run b --sizes 1x1", "expected WAYSxSHOTS")
    refused(capsys, "bundle run b --encoder tekst", "no encoder named 'tekst'", "did you mean 'text'")
    refused(capsys, "bundle run b --encoder {", "is not YAML")
    refused(capsys, "bundle run b --no-calibration --encoder {name:", "is not YAML")
    refused(capsys, "bundle run known --no-calibration", "something other than a bundle")
    assert not Path("b").exists()
    assert main(["bundle", "run", "b", "--no-calibration"]) == 0
    refused(capsys, "bundle run b --no-calibration", "holds a bundle already", "--replace")
    refused(capsys, "bundle b c", "b is a bundle already")
    assert main(["bundle", "run", "b", "--no-calibration", "--replace"]) == 0
    refused(capsys, "export b out.tflite", "expected .onnx or .pt2")
    refused(capsys, "export b out.pt2 --ways 6", "was trained for 5 classes")
    refused(capsys, "export b out.pt2 --shots 0", "expected 1 or more")
    refused(capsys, "export b none/out.pt2 --support nowhere", "nowhere does not exist")
    (Path("b") / "weights.safetensors").write_bytes(b"")
    refused(capsys, "adapt b known asked", "missing or damaged")
    assert not list(Path().glob("out*"))


def test_items_of_another_shape(capsys: pytest.CaptureFixture[str]) -> None:
    glyphs_run(Path("run"))
    line = ["bundle", "run", "b", "--no-calibration", "--encoder", "{name: image, item: [3, 28, 28]}"]
    assert main(line) == 1
    assert "makes items of shape [3, 28, 28]" in capsys.readouterr().err
    assert main(["bundle", "run", "b", "--no-calibration", "--encoder", "{name: image, invert: always}"]) == 0
    encoder = Bundle.load("b").encoder
    assert (encoder.item, encoder.invert) == ((1, 28, 28), "always")  # type: ignore[attr-defined]


def test_export_of_a_learner(capsys: pytest.CaptureFixture[str]) -> None:
    glyphs_run(Path("run"), name="flatten")
    bars()
    assert main(["export", "run", "abc.pt2", "--support", "known", "--batch", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["classes"] == ["a", "b", "c"]
    assert told["inputs"] == {"inputs": [2, 1, 28, 28]}
    assert told["error"] <= 1e-6
    assert Path("abc.pt2").stat().st_size > 1000
