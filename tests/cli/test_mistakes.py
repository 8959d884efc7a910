"""What a person may get wrong: each is one clean message that says what was got, what was expected and the mend."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.cli import main

FAILED, USAGE = 1, 2

TINY = ["--tasks", "sines", "--steps", "2", "--validate-every", "0", "--quiet"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUICKSTUDY_DEBUG", raising=False)


def refused(capsys: pytest.CaptureFixture[str], line: str, code: int, *said: str) -> None:
    """The line fails with this code, saying all of this and nothing of Python's."""
    assert main(line.split()) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert err.startswith(("error: ", "usage: ")), err
    for text in said:
        assert re.search(text, err), f"{text!r} not in {err!r}"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("trian maml", USAGE, [r'Unknown command "trian"', r'Did you mean "train"', "--help"]),
        ("train maml --stpes 5", USAGE, ["Unknown option: --stpes", "Did you mean --steps", "quickstudy train --help"]),
        ("train maml --method.stpes 5", USAGE, ["--method.stpes", "Did you mean --method.steps"]),
        ("train maml protonet", USAGE, ["Nothing takes 'protonet'", "one word too many"]),
        ("train maml --steps", USAGE, ["--steps requires an argument"]),
        ("train maml --threads many", FAILED, ["--threads: 'many' is not a number", "Give a whole number"]),
        ("train mamml", FAILED, ["no method named 'mamml'", "did you mean 'maml'", "Known: maml"]),
        ("train maml --tasks omniglott", FAILED, ["no tasks named 'omniglott'", "did you mean 'omniglot'"]),
        ("train maml --net conv5", FAILED, ["no net named 'conv5'", "did you mean 'conv4'"]),
        ("train maml --method.rule sdg", FAILED, ["no rule named 'sdg'", "did you mean 'sgd'"]),
        ("train nowhere:Method", FAILED, ["'nowhere:Method' cannot be imported", "package.module:Class"]),
        ("train os:path", FAILED, ["method 'os:path' is <module", "expected a class", "package.module:Class"]),
        ("train pathlib:Path", FAILED, ["'pathlib:Path' cannot be used as one", "subclass of MetaLearner"]),
        ("train maml --tasks sines --steps 0", FAILED, ["Training.steps", "greater than or equal to 1", "got '0'"]),
        ("train maml --tasks sines --method.steps x", FAILED, ["MAML.steps", "valid integer", "got 'x'"]),
        ("train maml --tasks sines --method.gradient exat", FAILED, ["'exact'", "got 'exat'"]),
        ("train maml --tasks sines --net conv4", FAILED, ["conv4 reads images", r"\(1,\)", "Use net 'mlp'"]),
        ("train --resume", FAILED, ["--resume needs the folder of the run in --out"]),
        ("train --resume --out none", FAILED, ["none holds no run", "Train one with --out none"]),
        ("train --config none.yaml", FAILED, ["no file 'none.yaml'", "expected a YAML file"]),
        ("evaluate none", FAILED, ["none holds no run"]),
        ("evaluate none --episodes many", USAGE, ["--episodes", "many"]),
        ("compare none", FAILED, ["compare takes two runs or more, got 1", "quickstudy evaluate"]),
        ("report none", FAILED, ["none is not a folder", "quickstudy evaluate none"]),
        ("list mamml", FAILED, ["nothing is named 'mamml'", "did you mean 'maml'"]),
        ("check mamml", FAILED, ["no method named 'mamml'", "did you mean 'maml'"]),
        ("adapt none none", FAILED, ["none does not exist", "one subfolder a class"]),
        ("adapt none", USAGE, ["FOLDER"]),
        ("demo --tasks sines", USAGE, ["sines", "glyphs"]),
    ],
)
def test_a_mistake_on_the_line(capsys: pytest.CaptureFixture[str], line: str, code: int, said: list[str]) -> None:
    refused(capsys, line, code, *said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stpes: 5", ["nothing is called 'stpes'", "did you mean 'steps'"]),
        ("method: {name: maml, stpes: 5}", ["MAML has no setting 'stpes'", "did you mean 'steps'"]),
        ("steps: 5\n  rate: 1", ["not valid YAML", "line 2", "Write one `name: value` a line"]),
        ("rate: -1", ["Training.rate", "greater than 0", "got -1"]),
    ],
)
def test_a_mistake_in_a_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, said: list[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    refused(capsys, "train --config recipe.yaml", FAILED, *said)


def test_a_folder_that_holds_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "maml", "--out", "run", "--method.rule.rate", "0.01", *TINY]) == 0
    capsys.readouterr()
    refused(capsys, "train maml --tasks sines --out run", FAILED, "run holds a run already", "--resume")
    refused(
        capsys, "train --resume --out run --rate 0.5", FAILED, r"training.rate was 0.001, not 0.5", "leave them out"
    )
    refused(capsys, "train protonet --resume --out run", FAILED, r"method.name was 'maml', not 'protonet'")
    refused(capsys, "evaluate run --ways 5 --no-floors", FAILED, "Sines has no setting 'ways'")
    Path("run/session.yaml").write_text("]")
    refused(capsys, "train --resume --out run", FAILED, "session.yaml cannot be read", "Remove it")


def test_a_diverging_run_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    line = "train maml --tasks sines --method.rule.rate 1e9 --out run --quiet"
    refused(capsys, line, FAILED, "step 1: the meta-loss is nan", "digest [0-9a-f]{16}", "Lower the outer")


@pytest.fixture
def trained() -> Path:
    """A tiny run of a method with a fixed number of ways on images, and a folder of three classes."""
    tiny = "train maml --net.width 4 --steps 1 --batch 1 --validate-every 0 --out run --quiet --tasks.ways 3"
    assert main(tiny.split()) == 0
    for name in "abc":
        for number in range(2):
            page = np.full((30, 30), 255, dtype=np.uint8)
            page[5:25, 5 * (ord(name) - 96) : 5 * (ord(name) - 96) + 3 + number] = 0
            Path("letters", name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(page).save(f"letters/{name}/{number}.png")
    return Path("letters")


def test_folders_that_cannot_be_adapted_to(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    capsys.readouterr()
    refused(capsys, "adapt run letters", FAILED, "got no files to recognise", "name image files")
    refused(capsys, "adapt run letters none.png", FAILED, "none.png does not exist")
    refused(capsys, "adapt run letters run", FAILED, "got no images in run")
    refused(capsys, "adapt run letters/a letters/a/0.png", FAILED, "letters/a has no subfolders")
    refused(capsys, "adapt run letters letters/a/0.png --invert perhaps", USAGE, "perhaps", "auto")
    refused(
        capsys, "adapt run letters letters/a --csv none/out.csv", FAILED, "there is no folder 'none'", "Make it first"
    )

    (trained / "d").mkdir()
    refused(capsys, "adapt run letters letters/a/0.png", FAILED, "class 'd' of letters has no images")
    Image.new("L", (8, 8)).save(trained / "d" / "0.png")
    refused(capsys, "adapt run letters letters/a/0.png", FAILED, "takes no more; got 4: a, b, c, d", "Leave 1 out")
    (trained / "d" / "0.png").unlink()
    (trained / "d").rmdir()

    whole = (trained / "b" / "1.png").read_bytes()
    (trained / "b" / "1.png").write_bytes(whole[:40])
    refused(
        capsys, "adapt run letters letters/a/0.png", FAILED, r"letters/b/1\.png cannot be read", "Replace or remove"
    )
