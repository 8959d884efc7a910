from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from quickstudy.cli import main
from quickstudy.evaluate import Protocol, evaluate
from quickstudy.tasks.sines import Sines
from quickstudy.train import checkpoint
from quickstudy.train.run import Run

SINES = "--tasks sines --method.rule.rate 0.01 --batch 2 --quiet"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def history(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "train.jsonl").read_text().splitlines()]


def train(line: str) -> int:
    return main(["train", *line.split()])


def test_a_run_has_everything_in_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"maml {SINES} --steps 4 --validate-every 2 --validation-episodes 3 --train.shots 5"
    assert train(line) == 0
    out = capsys.readouterr().out
    assert "Training maml on sines: mlp, 1,761 weights. Folder: runs/maml-sines-1" in out
    assert "Trained 4 steps" in out
    assert "Next: quickstudy evaluate runs/maml-sines-1" in out
    held = yaml.safe_load(Path("runs/maml-sines-1/run.yaml").read_text())["settings"]
    assert held["net"]["name"] == "mlp"
    assert held["method"]["rule"] == {"name": "sgd", "rate": 0.01}
    assert held["train"] == {"shots": 5}
    records = history("runs/maml-sines-1")
    assert [r["step"] for r in records if "loss" in r] == [1, 2, 3, 4]
    assert [r["step"] for r in records if "validation" in r] == [2, 4]
    assert train(line) == 0
    assert Path("runs/maml-sines-2").is_dir()


def test_a_file_and_flags_over_it() -> None:
    Path("r.yaml").write_text(
        "method: {name: maml, steps: 2, rule: {name: sgd, rate: 0.01}}\ntasks: sines\nsteps: 3\nbatch: 2\n"
        "validate_every: 0\n"
    )
    assert train("--config r.yaml --steps 2 --method.steps 1 --out run --quiet") == 0
    held = yaml.safe_load(Path("run/run.yaml").read_text())["settings"]
    assert (held["training"]["steps"], held["training"]["batch"]) == (2, 2)
    assert (held["method"]["steps"], held["method"]["rule"]["rate"]) == (1, 0.01)


def test_another_method_on_the_line_takes_nothing_from_the_files() -> None:
    Path("r.yaml").write_text("method: {name: maml, steps: 2}\ntasks: sines\nsteps: 1\nbatch: 2\nvalidate_every: 0\n")
    assert train("finetune --config r.yaml --out run --quiet") == 0
    held = yaml.safe_load(Path("run/run.yaml").read_text())["settings"]
    assert (held["method"]["name"], held["method"]["steps"]) == ("finetune", 50)


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"maml {SINES} --steps 6 --validate-every 2 --validation-episodes 3"
    assert train(f"{line} --out whole") == 0

    real, seen = checkpoint.write, []

    def interrupting(folder: Path, name: str, *rest: Any) -> None:
        real(folder, name, *rest)
        seen.append(name)
        if len(seen) == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # in the middle of step 2's validation

    monkeypatch.setattr(checkpoint, "write", interrupting)
    capsys.readouterr()
    assert train(f"{line} --out parts") == 130
    said = capsys.readouterr().err
    assert "Interrupted after step 2, which is saved" in said
    assert "quickstudy train --resume --out parts" in said
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    assert train("--resume --out parts --quiet") == 0
    assert "Going on from step 2 of maml on sines" in capsys.readouterr().out
    whole, parts = (checkpoint.read(Path(run, "checkpoints"), "step-00000006").tensors for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)
    without_time = [
        [{k: v for k, v in r.items() if k != "seconds"} for r in history(run)] for run in ("whole", "parts")
    ]
    assert without_time[0] == without_time[1]


@pytest.mark.parametrize("steps", [2, 4])
def test_a_validation_that_was_cut_off_is_made_up_for(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    from quickstudy.cli import session

    line = f"maml {SINES} --steps {steps} --validate-every 2 --validation-episodes 3"
    assert train(f"{line} --out whole") == 0

    def killed(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session, "evaluate", killed)
        assert train(f"{line} --out parts") == 130
    assert train("--resume --out parts --quiet") == 0
    found = [[(r["step"], r["validation"]) for r in history(run) if "validation" in r] for run in ("whole", "parts")]
    assert found[0] == found[1]
    assert [step for step, _ in found[1]] == list(range(2, steps + 1, 2))


def test_ctrl_c_twice_stops_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def impatient(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(checkpoint, "write", impatient)
    assert train(f"maml {SINES} --steps 2 --save-every 1 --validate-every 0 --out run") == 130
    assert "Interrupted at once; the last checkpoint is kept." in capsys.readouterr().err


def test_patience(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """MSE of 3, 2, 4, 5: the second is best, and two worse ones end it."""
    from quickstudy.cli import session

    means = iter([3.0, 2.0, 4.0, 5.0, 1.0])
    real = session.evaluate

    def scripted(*args: Any, **options: Any) -> Any:
        return dataclasses.replace(real(*args, **options), mean=next(means))

    monkeypatch.setattr(session, "evaluate", scripted)
    line = f"maml {SINES} --steps 9 --validate-every 1 --validation-episodes 2 --patience 2 --out run"
    assert train(line) == 0
    out = capsys.readouterr().out
    assert "Trained 4 steps" in out
    assert "stopped after 2 validations without a better one; best validation 2.00 at step 2" in out
    from quickstudy.train.run import Run

    assert Run.open("run").method()[1]["number"] == 2
    assert train("--resume --out run") == 0
    assert "run is trained to its end, 4 steps" in capsys.readouterr().out


@pytest.mark.parametrize(("means", "kept"), [([math.nan, math.inf, math.nan], 3), ([math.nan, 2.0, math.inf], 2)])
def test_where_every_validation_diverged_the_last_weights_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], means: list[float], kept: int
) -> None:
    from quickstudy.cli import session
    from quickstudy.train.run import Run

    said = iter(means)
    real = session.evaluate
    monkeypatch.setattr(session, "evaluate", lambda *a, **k: dataclasses.replace(real(*a, **k), mean=next(said)))
    assert train(f"maml {SINES} --steps 3 --validate-every 1 --validation-episodes 2 --out run") == 0
    assert f"at step {kept}" in capsys.readouterr().out
    assert Run.open("run").method()[1]["number"] == kept


def test_a_run_on_validation_tasks_too_has_none_to_validate_on() -> None:
    assert train(f"maml {SINES} --steps 2 --validate-every 1 --split train+val --out run") == 0
    assert [record["step"] for record in history("run")] == [1, 2]
    assert not any(Path("run/checkpoints").glob("best-*"))


def test_validation_may_ask_for_other_shots_and_steps_than_training(capsys: pytest.CaptureFixture[str]) -> None:
    asked = "--validate-every 1 --validation-episodes 3 --validation-shots 5 --validation-steps 3 --steps 1"
    assert train(f"maml {SINES} {asked} --out run") == 0
    method, _ = Run.open("run").method()
    protocol = Protocol(tasks=Sines(shots=5), split="val", episodes=3)
    found = next(record["validation"] for record in history("run") if "validation" in record)
    assert found["mean"] == pytest.approx(evaluate(method, protocol, steps=3).mean)
    assert train("protonet --validation-steps 3 --steps 1 --quiet") == 1
    assert "ProtoNet does not adapt in steps. Leave validation_steps out." in " ".join(capsys.readouterr().err.split())


def test_a_damaged_checkpoint_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(f"maml {SINES} --steps 4 --save-every 2 --validate-every 0 --out run") == 0
    Path("run/checkpoints/step-00000004.safetensors").write_bytes(b"damaged")
    assert train("--resume --out run --quiet") == 0
    said = capsys.readouterr()
    assert "Going on from step 2" in said.err
    assert "Going on from step 2 of maml" in said.out


def test_the_default_net_suits_what_the_tasks_hold() -> None:
    assert train("protonet --net.width 4 --steps 1 --batch 1 --validate-every 0 --out run --quiet --minutes 5") == 0
    assert yaml.safe_load(Path("run/run.yaml").read_text())["settings"]["net"]["name"] == "conv4"


def test_a_real_ctrl_c() -> None:
    line = f"train maml {SINES} --steps 100000 --out run"
    code = f"import sys; from quickstudy.cli import main; sys.exit(main({line.split()}))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not Path("run/train.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Finishing this step, then saving" in err
    assert "quickstudy train --resume --out run" in err
    assert "Traceback" not in out + err
    assert list(Path("run/checkpoints").glob("step-*.json"))


def test_resuming_keeps_the_threads_it_was_started_with() -> None:
    from quickstudy.cli.train import recorded_threads

    Path("run").mkdir()
    Path("run/session.yaml").write_text("threads: 3\nwatch: {}\n")
    assert recorded_threads(["train", "--resume", "--out", "run"]) == 3
    assert recorded_threads(["train", "--out", "run"]) is None
    assert recorded_threads(["train", "--resume", "--out", "none"]) is None
