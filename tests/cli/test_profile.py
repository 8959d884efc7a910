"""`quickstudy profile`: parts that add up, trials of settings, advice."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from quickstudy.cli import main, profile
from quickstudy.train.profile import Profile, Trial, changes, tried
from train.runs import sine_run

LINE = "profile maml --tasks sines --method.rule.rate 0.01 --net.hidden [8] --batch 4 --repeats 1"


def test_it_says_where_the_time_goes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LINE.split(), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(found["parts"]) == ["sampling", "transfer", "inner loop", "query", "outer gradient", "optimizer"]
    assert all(seconds >= 0 for seconds in found["parts"].values())
    assert found["parts"]["inner loop"] > found["parts"]["transfer"]
    assert [trial["change"] for trial in found["trials"]] == [
        {},
        {"how": "loop"},
        {"how": "map", "chunk": 2},
        {"how": "map", "chunk": 4},
        {"precision": "bf16"},
    ]
    assert all(trial["seconds"] > 0 for trial in found["trials"])


def test_it_says_so_to_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(LINE.split()) == 0
    out = capsys.readouterr().out
    assert "A step of 4 tasks, 4 mapped together:" in out
    assert "--how map --chunk 2" in out


def test_mistakes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "finetune", "--tasks", "glyphs"]) == 1
    assert "finetune" not in capsys.readouterr().out
    assert main([*LINE.split()[:-1], "0"]) == 1
    assert "nothing would be timed" in capsys.readouterr().err
    assert main(["profile", "nobody"]) == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [([1.0, 0.97, 2.0], "No setting tried"), ([1.0, 0.5, float("nan")], "Quickest: --how loop, 2.0 times as quick")],
)
def test_advice_is_for_what_is_clearly_quicker(seconds: list[float], said: str) -> None:
    settings: list[dict[str, Any]] = [{}, {"how": "loop"}, {"precision": "bf16"}]
    trials = [Trial(change, taken, None) for change, taken in zip(settings, seconds, strict=True)]
    assert profile._advice(trials).startswith(said)
    profile._show(Profile((), "one after the other", 4), trials)


def test_a_setting_that_fails_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*given: Any, **more: Any) -> Any:
        raise RuntimeError("not enough memory\nand more")

    monkeypatch.setattr("quickstudy.train.profile.fit", failing)
    found = tried(sine_run(), {"how": "loop"})
    assert found.note == "not enough memory"
    assert found.seconds != found.seconds


def test_a_step_is_timed_as_it_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = iter([0.0, 9.0, 11.0, 14.0, 15.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(marks))
    monkeypatch.setattr("quickstudy.train.profile.fit", lambda *given: iter([_Step()] * 4))
    assert tried(sine_run(), {}, steps=2).seconds == 1.0


class _Step:
    state = SimpleNamespace(compiled=None)


def test_what_is_tried_suits_the_run() -> None:
    assert {"compile": "always"} in changes(sine_run(), compiled=True)
    assert {"channels_last": True} not in changes(sine_run())
    assert {"precision": "bf16"} not in changes(sine_run(precision="bf16"))
