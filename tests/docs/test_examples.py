"""Every file in `examples/` runs as a newcomer would run it, shortened by the variable that each of them reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent.parent / "examples").glob("*.py"))

NEEDS = {"estimators": "sklearn"}
"""Examples of what comes with an extra."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    if needed := NEEDS.get(example.stem):
        pytest.importorskip(needed, reason=f"{needed} is not installed; it comes with an extra")
    environment = os.environ | {"QUICKSTUDY_EXAMPLE_STEPS": "3"}
    command = [sys.executable, str(example)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    if "ExtraError" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example shows something"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_example_is_short(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 100
