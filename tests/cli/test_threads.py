from __future__ import annotations

from pathlib import Path

import pytest

from quickstudy.cli import threads
from quickstudy.errors import SettingsError

NONE = Path("/nowhere/cpu.max")


@pytest.mark.parametrize(
    ("processors", "load", "expected"),
    [(2, 0.0, 2), (2, 1.2, 1), (2, 9.0, 1), (8, 2.4, 6), (64, 1.0, 16), (1, 0.0, 1)],
)
def test_no_more_threads_than_idle_processors(processors: int, load: float, expected: int) -> None:
    assert threads.idle_processors(processors, load, NONE) == expected


@pytest.mark.parametrize(("text", "expected"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 8)])
def test_a_containers_allowance_is_kept(tmp_path: Path, text: str, expected: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert threads.idle_processors(8, 0.0, quota) == expected


def test_command_line_then_environment_then_recorded_run() -> None:
    assert threads.settle(["train", "--threads", "3"], {"OMP_NUM_THREADS": "5"}, recorded=7) == 3
    assert threads.settle(["train", "--threads=3"], {}) == 3
    assert threads.settle(["train"], {"OMP_NUM_THREADS": "5,2"}, recorded=7) == 5
    assert threads.settle(["train"], {}, recorded=7) == 7


def test_what_the_environment_gets() -> None:
    environment: dict[str, str] = {}
    threads.settle(["train", "--threads", "2"], environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"}
    environment = {"OMP_WAIT_POLICY": "ACTIVE"}
    threads.settle(["train", "--threads", "2"], environment)
    assert environment["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_threads_that_are_no_number(text: str) -> None:
    with pytest.raises(SettingsError, match=f"--threads: {text!r} is not a number of threads"):
        threads.settle(["--threads", text], {})
    with pytest.raises(SettingsError, match="OMP_NUM_THREADS: "):
        threads.settle([], {"OMP_NUM_THREADS": text})
