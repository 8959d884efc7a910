"""Runs: settings there and back, stopped and gone on with, and folders that hold none."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
import yaml

from quickstudy.errors import CheckpointError, SettingsError, TrainingError
from quickstudy.train.loop import fit
from quickstudy.train.run import Run, RunSettings, build_method, training_source
from quickstudy.train.state import TrainState
from train.runs import sine_run, weights


def train(run: Run, state: TrainState, until: int = 10**9) -> None:
    for step in fit(state.method, training_source(run.settings), state=state):
        run.log({"step": step.number, "loss": step.loss})
        run.save(step.state)
        if step.number >= until:
            break


def test_settings_survive_the_folder(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    assert Run.open(tmp_path / "run").settings == run.settings


def test_weights_depend_on_settings_alone() -> None:
    torch.manual_seed(1)
    one = build_method(sine_run())
    torch.manual_seed(2)
    assert torch.equal(weights(one), weights(build_method(sine_run())))
    assert not torch.equal(weights(one), weights(build_method(sine_run(seed=3))))


def test_a_run_stopped_and_resumed_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    whole = Run.create(tmp_path / "whole", sine_run())
    train(whole, whole.resume()[0])
    parts = Run.create(tmp_path / "parts", sine_run())
    for until in (4, 9, 12):
        again = Run.open(parts.folder)
        train(again, again.resume()[0], until)
    assert torch.equal(weights(whole.method()[0]), weights(parts.method()[0]))
    assert list(whole.history()) == list(parts.history())


def test_the_best_weights_are_the_ones_to_evaluate(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    state, _ = run.resume()
    run.save_best(state, 0.5)
    best = weights(state.method)
    train(run, state)
    method, notes = run.method()
    assert torch.equal(weights(method), best)
    assert notes["validation"] == 0.5


def test_training_episodes_may_differ_from_the_tasks() -> None:
    settings = RunSettings.read({"method": "protonet", "tasks": "sines", "train": {"shots": 3}})
    assert training_source(settings).batch([0]).support.x.shape == (1, 3, 1)
    typo = RunSettings.read({"method": "protonet", "tasks": "sines", "train": {"shotz": 3}})
    with pytest.raises(SettingsError, match="no setting 'shotz'; did you mean 'shots'"):
        training_source(typo)


def test_pool_methods_train_on_flat_batches() -> None:
    settings = RunSettings.read({"method": "finetune", "tasks": "sines", "training": {"batch": 2}})
    assert training_source(settings).batch([0]).query.x.shape == (1, 16, 1)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    Run.create(tmp_path, sine_run())
    with pytest.raises(SettingsError, match=r"holds a run already.*--resume"):
        Run.create(tmp_path, sine_run())


def test_folders_that_hold_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{re.escape(str(tmp_path))} holds no run"):
        Run.open(tmp_path)
    run = Run.create(tmp_path / "run", sine_run())
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        run.method()
    path = tmp_path / "run" / "run.yaml"
    notes = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(notes | {"format": 99}))
    with pytest.raises(CheckpointError, match=r"format 99.*reads format 1"):
        Run.open(tmp_path / "run")
    path.write_text("settings: [")
    with pytest.raises(CheckpointError, match=r"run.yaml cannot be read"):
        Run.open(tmp_path / "run")
    notes["settings"]["method"]["stepz"] = 3
    path.write_text(yaml.safe_dump(notes))
    with pytest.raises(CheckpointError, match="no setting 'stepz'; did you mean 'steps'"):
        Run.open(tmp_path / "run")


def test_steps_that_broke_the_weights_are_never_saved(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    state, _ = run.resume()
    train(run, state, until=2)
    good = weights(state.method)
    with torch.no_grad():
        next(state.method.parameters()).fill_(math.nan)
    run.save(state)
    with pytest.raises(TrainingError, match=r"step 3: .*digest [0-9a-f]{16}.*The step before broke the weights"):
        train(run, state)
    run.save(state)
    again = run.resume()[0]
    assert again.number == 2
    assert torch.equal(weights(again.method), good)


def test_a_damaged_best_gives_way_with_a_warning(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    state, _ = run.resume()
    run.save_best(state, 0.5)
    first = weights(state.method)
    train(run, state)
    run.save_best(state, 0.6)
    newest = run.checkpoints / "best-00000012.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"best-00000012 cannot be read: .*An earlier one is used"):
        method, notes = run.method()
    assert torch.equal(weights(method), first)
    assert notes["validation"] == 0.5


def test_a_damaged_checkpoint_is_told_of_and_trained_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    train(run, run.resume()[0])
    end = weights(run.method()[0])
    (run.checkpoints / "step-00000012.json").write_text("{}")
    state, damaged = run.resume()
    assert state.number == 11
    assert [record["step"] for record in run.history()] == list(range(1, 12))
    assert len(damaged) == 1
    train(run, state)
    assert torch.equal(weights(run.method()[0]), end)


def test_a_last_line_cut_off_is_dropped_and_written_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    train(run, run.resume()[0], until=3)
    with (run.folder / "train.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert [record["step"] for record in run.history()] == [1, 2, 3]
    train(run, run.resume()[0], until=5)
    assert [record["step"] for record in run.history()] == [1, 2, 3, 4, 5]


def test_data_that_changed_are_not_trained_on_further(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    path = run.folder / "run.yaml"
    path.write_text(path.read_text().replace(run.episodes, "0123456789abcdef"))
    with pytest.raises(CheckpointError, match=r"trained on other episodes .*the data have changed"):
        Run.open(run.folder).resume()


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    (run.folder / "train.jsonl").mkdir()
    with pytest.raises(CheckpointError, match=r"train.jsonl cannot be written: Is a directory"):
        run.log({"step": 1})


def test_left_over_checkpoints_are_no_new_run(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    run.save(run.resume()[0])
    (run.folder / "run.yaml").unlink()
    with pytest.raises(SettingsError, match="holds a run already"):
        Run.create(run.folder, sine_run())


def test_checkpoints_of_another_net_are_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", sine_run())
    run.save(run.resume()[0])
    path = run.folder / "run.yaml"
    path.write_text(path.read_text().replace("- 8", "- 9"))
    with pytest.raises(CheckpointError, match=r"the saved weights do not fit MAML: size mismatch for head.weight"):
        Run.open(run.folder).method()


def dots(method: str, **more: object) -> RunSettings:
    return RunSettings.read({"method": method, "tasks": {"name": "train.runs:Dots", "ways": 3}} | more)


def test_methods_refuse_tasks_that_they_cannot_learn() -> None:
    with pytest.raises(SettingsError, match="protonet learns classes, and sines has real values"):
        build_method(RunSettings.read({"method": "protonet", "tasks": "sines"}))
    with pytest.raises(SettingsError, match=r"maml takes tasks of one number of classes; got ways 4 .* and 3"):
        build_method(dots("maml", train={"ways": 4}))
    with pytest.raises(SettingsError, match=r"got ways \(2, 4\)"):
        build_method(dots("maml", tasks={"name": "train.runs:Dots", "ways": [2, 4]}))
    build_method(dots("protonet", train={"ways": 4}))
    for ways in (4, [2, 4]):  # what is claimed depends on settings
        build_method(dots("anil-tied", train={"ways": ways}))
    with pytest.raises(SettingsError, match="maml with these settings learns classes, and sines has real values"):
        build_method(RunSettings.read({"method": "anil-tied", "tasks": "sines"}))
    build_method(dots("maml", train={"shots": 2}))
