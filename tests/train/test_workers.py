"""Two workers do what one does; they die, are stopped and go on, and nothing is lost.

torchrun is started three times, because each worker imports torch: once for all that two workers share, and twice for
a run that is killed, ended and gone on with.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from quickstudy.cli import main, session
from quickstudy.core.workers import Workers, join, leave
from quickstudy.errors import DataError, SettingsError
from quickstudy.train import checkpoint
from quickstudy.train.run import Run
from train import team

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
TRAIN = ["-m", "quickstudy", "train", "--config", "recipe.json", "--out", "run"]


def torchrun(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    tests = str(Path(__file__).parents[1])
    more = {"PYTHONPATH": tests, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **environment}
    command = [*TORCHRUN, "--nproc-per-node=2", *words]
    return subprocess.run(
        command, cwd=folder, env=os.environ | more, capture_output=True, text=True, timeout=120, check=False
    )


def alone(folder: Path) -> list[list[float]]:
    """The curve of one process, whose state after six steps is saved."""
    run, state = team.method_and_state()
    found = team.curve(run, state, Workers(), until=6)
    checkpoint.write(folder / "alone", "step-00000006", state.tensors(), state.scalars())
    return found + team.curve(run, state, Workers())


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("two")
    found: dict[str, Any] = {"folder": folder, "alone": alone(folder)}
    ended = torchrun(folder, str(Path(team.__file__)), str(folder))
    assert (folder / "found-1.json").exists(), ended.stderr
    found["by"] = [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(2)]
    return found | {"ended": ended}


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=1e-5, atol=0)


def test_both_know_the_same_to_the_bit(two: dict[str, Any]) -> None:
    assert two["by"][0] == two["by"][1]


def test_gradients_are_added_up_wherever_they_are(two: dict[str, Any]) -> None:
    assert two["by"][0]["sums"] == [11.0, [3.0] * 6, [0.0, 1.0, 2.0, 3.0], None]


def test_arrays_of_any_shape_are_gathered_in_order(two: dict[str, Any]) -> None:
    assert two["by"][0]["gathered"] == [[[], [[False] * 2] * 2], [[0], [[True] * 2] * 2]]


def test_the_curve_is_that_of_one_process(two: dict[str, Any]) -> None:
    """Of steps of five tasks, three for one worker and two for the other: a mean of means would be far off."""
    assert len(two["alone"]) == team.STEPS
    close(two["by"][0]["curve"], two["alone"])


def test_a_run_goes_on_with_other_numbers_of_workers(two: dict[str, Any]) -> None:
    close(two["by"][0]["went on"], two["alone"][6:])
    run, state = team.method_and_state()
    saved = checkpoint.read(two["folder"], "step-00000006")
    state.restore(saved.tensors, saved.scalars)
    close(team.curve(run, state, Workers()), two["alone"][6:])


def test_flat_batches_beside_episodes_give_the_curve_of_one_process(two: dict[str, Any]) -> None:
    alone = team.two_signals(Workers())
    assert {flat for *_, flat in alone} == {0.0, 1.0}
    close(two["by"][0]["two signals"], alone)


def test_answers_are_those_of_one_process(two: dict[str, Any]) -> None:
    assert two["by"][0]["answers"] == team.asked(Workers())


def test_a_run_by_minutes_has_one_clock(two: dict[str, Any]) -> None:
    rates = [rate for _, _, rate in two["by"][0]["timed"][0]]
    assert 0 < len(rates) <= team.STEPS
    assert two["by"][0]["timed"] == two["by"][1]["timed"]


def test_what_one_worker_finds_wrong_ends_the_job_with_one_message(two: dict[str, Any]) -> None:
    ended = two["ended"]
    assert ended.returncode == 1
    assert [line for line in ended.stderr.splitlines() if line.startswith(("error", "usage"))] == [
        "error: one worker found a broken file."
    ]
    assert "another worker" not in ended.stderr
    assert "destroy_process_group" not in ended.stderr, "torch warns of a group that is not destroyed"
    assert checkpoint.names(two["folder"] / "broken" / "checkpoints") == ["step-00000001"]


def test_one_worker_writes_and_speaks(two: dict[str, Any]) -> None:
    whole = Run.open(two["folder"] / "whole")
    steps = [record["step"] for record in whole.history() if "loss" in record]
    assert steps == list(range(1, team.STEPS + 1))
    assert two["ended"].stdout.count("Training maml on train.team:Wild") == 2  # this run, and the broken one


def test_killed_and_ended_a_run_goes_on_to_the_same_weights(two: dict[str, Any], tmp_path: Path) -> None:
    """Step 5 kills the second worker; torchrun starts both again. Step 9 ends torchrun. Another job finishes."""
    (tmp_path / "recipe.json").write_text(json.dumps(team.GIVEN))  # JSON is YAML
    ended = torchrun(tmp_path, "--max-restarts=1", *TRAIN, FATE="die@22 end@43")
    assert (tmp_path / "die@22").exists(), ended.stderr
    assert "another worker of this job has stopped" in ended.stderr
    assert "Going on from step 4 of maml" in ended.stdout, ended.stderr  # saved by the first worker at its end
    assert "Interrupted after step" in ended.stderr, ended.stderr
    assert ended.returncode not in (0, -signal.SIGKILL)
    run = Run.open(tmp_path / "run")
    assert run.resume()[0].number in (9, 10)  # the step in which both had heard of it
    again = torchrun(tmp_path, *TRAIN)
    assert again.returncode == 0, again.stderr
    assert "Trained 12 steps" in again.stdout
    state, whole = run.resume()[0], Run.open(two["folder"] / "whole").resume()[0]
    assert state.number == whole.number == team.STEPS
    assert all(torch.equal(value, whole.tensors()[name]) for name, value in state.tensors().items())

    def plain(run: Run) -> list[dict[str, Any]]:
        return [{name: value for name, value in each.items() if name != "seconds"} for each in run.history()]

    assert plain(run) == plain(Run.open(two["folder"] / "whole"))


def test_bad_data_lose_no_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FATE", "fail@11")
    with pytest.raises(DataError, match="a broken file"):
        session.start(team.GIVEN, Path("run"), quiet=True)
    assert checkpoint.names(Path("run/checkpoints")) == ["step-00000002"]


def test_more_workers_than_tasks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Workers, "here", classmethod(lambda cls: cls(0, 6)))
    with pytest.raises(SettingsError, match=r"6 workers for steps of 5 tasks.*--nproc-per-node=5, or .* --batch 6"):
        session.start(team.GIVEN, Path("run"), quiet=True)
    flat = {"method": {"name": "finetune"}, "tasks": {"name": "train.runs:Dots"}, "net": {"name": "mlp"}}
    with pytest.raises(SettingsError, match=r"6 workers for steps of one flat batch.*--nproc-per-node=1"):
        session.start(flat, Path("flat"), quiet=True)


def test_under_torchrun_a_run_needs_a_folder_and_keeps_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join().count == 1
    leave()
    with pytest.raises(SettingsError, match="torchrun needs the run's folder in --out"):
        session.start(team.GIVEN, None)
    assert session.start(team.GIVEN, Path("run"), quiet=True) == 0
    assert session.start(team.GIVEN, Path("run"), quiet=True) == 0
    assert "run is trained to its end, 12 steps" in capsys.readouterr().out
    with pytest.raises(SettingsError, match=r"training\.steps was 12, not 13"):
        session.start(team.GIVEN | {"steps": 13}, Path("run"), quiet=True)


def test_alone_workers_say_nothing() -> None:
    workers, weight = Workers(), torch.zeros(2)
    assert workers.first
    assert workers.share(range(3)) == range(3)
    assert workers.add_up([weight, None], [weight.shape] * 2, torch.tensor(2.0)) == ([weight, None], 2)
    assert workers.agree(0.1) == 0.1
    assert workers.gather({}) == [{}]
    assert workers.first_then_others(lambda: 7) == 7
    assert workers.fails_first()
    workers.stop = True
    assert workers.stopping
    assert [Workers(rank, 3).share(range(5)) for rank in range(3)] == [range(1), range(1, 3), range(3, 5)]
    assert main(["list"]) == 0
