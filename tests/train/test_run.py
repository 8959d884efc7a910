"""Runs: settings there and back, killed at any moment and gone on with, and folders that hold none."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
import yaml

from quickstudy.errors import CheckpointError, SettingsError
from quickstudy.train.loop import TrainState, fit
from quickstudy.train.run import Run, RunSettings, build_method, training_source
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


PROGRAM = """
    import sys
    from train.test_run import Run, train
    run = Run.open(sys.argv[1])
    train(run, run.resume()[0])
"""


def test_killed_at_any_moment_a_run_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    settings = sine_run(steps=400)
    whole = Run.create(tmp_path / "whole", settings)
    for step in fit((state := whole.resume()[0]).method, training_source(settings), state=state):
        last = step
    killed = Run.create(tmp_path / "killed", settings)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(killed.folder)]
    for more in (3, 60, 200):  # kill -9 once this many more checkpoints have been written
        start = len(list(killed.history()))
        process = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 120
        while len(list(killed.history())) < min(start + more, 390) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(command, env=environment, check=True)
    assert torch.equal(weights(killed.method()[0]), weights(last.state.method))
    assert [record["step"] for record in killed.history()] == list(range(1, 401))


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
