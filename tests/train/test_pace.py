"""Plans of how many tasks to take together: measured where that pays, kept by the run, remembered by the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from quickstudy.core.lift import plan
from quickstudy.train import pace
from quickstudy.train.loop import fit
from quickstudy.train.settings import Training
from quickstudy.train.state import TrainState
from train.runs import SOURCE, sine_method, weights

TASKS = 8


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Plans that are tried, each of which takes as long by the task as its distance from a chunk of four."""
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path))
    tried: list[tuple[str, int]] = []

    def gradient(state: TrainState, how: str, part: Any) -> torch.Tensor:
        tried.append((how, len(part[0].support.mask)))
        return torch.zeros(())

    def seconds_of(run: Any, device: torch.device) -> float:
        run()
        how, tasks = tried[-1]
        return tasks * (9.0 if how == "loop" else 1.0 + abs(tasks - 4))

    monkeypatch.setattr(pace, "gradient", gradient)
    monkeypatch.setattr(pace, "seconds_of", seconds_of)
    return tried


def chosen(state: TrainState, tasks: int = TASKS) -> tuple[str, int]:
    return pace.chosen_plan(state, (SOURCE.batch(range(tasks)),))


def test_the_quickest_is_chosen_once(asked: list[tuple[str, int]]) -> None:
    state = TrainState(sine_method(), Training(steps=1000, batch=TASKS))
    assert plan(state.method, SOURCE.batch(range(TASKS))) == ("map", TASKS)  # without a measurement
    assert chosen(state) == ("map", 4)
    assert asked == [("map", 8), ("loop", 4), ("map", 2), ("map", 4), ("map", 8), ("map", 4)]  # the best two twice
    assert list(state.scalars()["plans"].values()) == [["map", 4]]
    assert chosen(TrainState(sine_method(), Training(steps=1000, batch=TASKS))) == ("map", 4)
    assert len(asked) == 6, "the machine remembers"


def test_a_run_keeps_its_plan(asked: list[tuple[str, int]]) -> None:
    state = TrainState(sine_method(), Training(steps=1000, batch=TASKS))
    shapes = "/".join(str(list(leaf.shape)) for leaf in pace.tree.leaves((SOURCE.batch(range(TASKS)),)))
    state.restore(state.tensors(), {**state.scalars(), "plans": {shapes: ["map", 2]}})
    assert chosen(state) == ("map", 2)
    assert not asked


@pytest.mark.parametrize("more", [{"steps": 499}, {"chunk": 3}, {"how": "loop"}, {"compile": "auto"}])
def test_nothing_is_measured_for_a_short_run_or_a_choice(asked: list[tuple[str, int]], more: dict[str, Any]) -> None:
    state = TrainState(sine_method(), Training(**({"steps": 1000, "batch": TASKS} | more)))
    training = state.training
    expected = plan(state.method, SOURCE.batch(range(TASKS)), how=training.how, chunk=training.chunk)
    assert chosen(state) == expected
    assert not asked


def test_a_single_task_has_one_plan(asked: list[tuple[str, int]]) -> None:
    assert chosen(TrainState(sine_method(), Training(steps=1000, batch=1)), tasks=1) == ("loop", 1)
    assert not asked


def test_measuring_leaves_training_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real times, whatever they choose: the weights after three steps are those of a plan given."""
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path))
    measured, given = sine_method(), sine_method()
    for method, how in ((measured, "auto"), (given, "loop")):
        for step in fit(method, SOURCE, Training(steps=1000, batch=TASKS, how=how)):
            if step.number == 3:
                break
    assert (tmp_path / "speed.json").exists()
    torch.testing.assert_close(weights(measured), weights(given))


def test_parts_of_a_batch_are_all_of_it() -> None:
    batch = (SOURCE.batch(range(7)),)
    parts = [part[0].support.x for part in pace.split(batch, 3)]
    assert [len(part) for part in parts] == [3, 3, 1]
    assert torch.equal(torch.cat(parts), batch[0].support.x)


def test_few_of_many_shapes_are_measured(asked: list[tuple[str, int]]) -> None:
    """Where sizes are drawn from ranges almost every batch has a shape of its own."""
    state = TrainState(sine_method(), Training(steps=1000, batch=TASKS))
    for tasks in range(2, 12):
        assert chosen(state, tasks)[0] == "map"
    assert len(state.plans) == pace.SHAPES
    measured = len(asked)
    assert chosen(state, 16) == plan(state.method, SOURCE.batch(range(16)))
    assert len(asked) == measured


def test_a_guess_that_was_disturbed_is_measured_again(
    asked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds_of(run: Any, device: torch.device) -> float:
        run()
        return 90.0 if len(asked) == 1 else float(asked[-1][1])  # the first measurement alone is disturbed

    monkeypatch.setattr(pace, "seconds_of", seconds_of)
    assert chosen(TrainState(sine_method(), Training(steps=1000, batch=TASKS))) == ("map", TASKS)


def test_operations_are_those_that_reach_the_device() -> None:
    """Mapped tasks share theirs, tasks in a loop have each their own."""
    state = TrainState(sine_method(), Training(steps=1000, batch=TASKS))
    batch = (SOURCE.batch(range(TASKS)),)
    each, mapped = pace.pace_of_operations(state, "map", batch)
    _, few = pace.pace_of_operations(state, "map", next(pace.split(batch, 2)))
    _, looped = pace.pace_of_operations(state, "loop", batch)
    assert mapped == few
    assert looped > TASKS * mapped / 2
    assert 1e-7 < each < 1e-2
