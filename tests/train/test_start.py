"""Runs that start from what another has learned: what they take over, and what they refuse to take."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quickstudy.cli import main
from quickstudy.errors import CheckpointError, SettingsError
from quickstudy.train.run import Run, RunSettings, begun, build_method
from quickstudy.train.state import TrainState
from train.runs import weights

DOTS = "train.runs:Dots"


def settings(method: Any, start: Path | None = None, **changes: Any) -> RunSettings:
    plain = {
        "method": method,
        "tasks": {"name": DOTS, "ways": 3, "queries": 4},
        "net": {"name": "mlp", "hidden": [4]},
        "training": {"steps": 2, "batch": 2, "start": None if start is None else str(start)},
    }
    return RunSettings.read(plain | changes)


def trained(folder: Path, method: Any = "rfs", seed: int = 7) -> Path:
    """A run whose last weights are those of some seed."""
    run = Run.create(folder, settings(method))
    state = TrainState(build_method(run.settings), run.settings.training)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in state.method.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    run.save(state)
    return folder


@pytest.mark.parametrize("method", ["meta-baseline", "maml", "simpleshot"])
def test_the_net_starts_as_the_other_run_left_it(tmp_path: Path, method: str) -> None:
    start = trained(tmp_path / "flat")
    run = settings(method, start)
    taught, _ = Run.open(start).method()
    assert torch.equal(weights(begun(run).net), weights(taught.net))
    assert not torch.equal(weights(build_method(run).net), weights(taught.net))


def test_a_run_that_never_saved_begins_again_from_there(tmp_path: Path) -> None:
    start = trained(tmp_path / "flat")
    run = Run.create(tmp_path / "run", settings("meta-baseline", start))
    expected = weights(Run.open(start).method()[0].net)
    state, _ = run.resume()
    assert torch.equal(weights(state.method.net), expected)
    run.save(state)
    for file in sorted(start.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    assert torch.equal(weights(run.resume()[0].method.net), expected)  # what it has saved is all that it needs
    assert torch.equal(weights(run.method()[0].net), expected)


def test_distillation_takes_the_other_run_for_its_teacher(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="rfs: distillation needs a trained teacher"):
        begun(settings("rfs-distill"))
    start = trained(tmp_path / "first")
    student = begun(settings("rfs-distill", start))
    taught, _ = Run.open(start).method()
    assert torch.equal(weights(student.net), weights(build_method(settings("rfs")).net))
    assert torch.equal(torch.cat([b.flatten() for b in student.teacher.buffers()]), weights(taught))
    second = settings("rfs-distill", trained(tmp_path / "second", {"name": "rfs", "distill": 0.5}))
    assert begun(second).teacher is not None  # a student teaches in its turn


def test_meta_baseline_begins_with_a_trained_net(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="protonet: a net that was trained as a classifier comes before its protot"):
        begun(settings("meta-baseline"))
    assert begun(settings("meta-baseline", trained(tmp_path / "flat"))).settings.pretrained
    assert begun(settings("meta-baseline", net="flatten")).log_temperature is not None  # nothing to be trained before
    begun(settings({"name": "meta-baseline", "pretrained": False}))
    begun(settings("protonet"))


def test_another_net_is_refused(tmp_path: Path) -> None:
    start = trained(tmp_path / "flat")
    run = settings("protonet", start, net={"name": "mlp", "hidden": [5]})
    with pytest.raises(SettingsError, match="ProtoNet cannot start from the net of RFS, which is another one: size"):
        begun(run)
    with pytest.raises(CheckpointError, match="nowhere holds no run"):
        begun(settings("protonet", tmp_path / "nowhere"))


def test_classes_that_the_other_run_has_seen_are_not_new(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    y = np.arange(20).repeat(6)
    np.savez(path, x=np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32), y=y)

    def run(deal: int, start: Path | None = None) -> RunSettings:
        tasks = {"name": "features", "path": str(path), "deal": deal, "ways": 2, "queries": 2}
        return settings("rfs" if start is None else "protonet", start, tasks=tasks)

    before = Run.create(tmp_path / "flat", run(0))
    before.save(TrainState(build_method(before.settings), before.settings.training))
    begun(run(0, before.folder))
    with pytest.raises(SettingsError, match=r"was trained on \d+ of the (val|test) classes of these tasks, '\d+'"):
        begun(run(1, before.folder))


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    common = "--tasks train.runs:Dots --batch 2 --validate-every 0 --quiet --rate 1e-9"
    assert main(f"train rfs {common} --net mlp --net.hidden 4 --steps 2 --out flat".split()) == 0
    assert main(f"train meta-baseline {common} --steps 1 --start flat --out run".split()) == 0
    assert Run.open("run").settings.net == Run.open("flat").settings.net
    before, after = (Run.open(folder).method()[0].net for folder in ("flat", "run"))
    torch.testing.assert_close(weights(before), weights(after), rtol=0, atol=1e-6)
    assert main(["train", "--resume", "--out", "run", "--quiet"]) == 0
    assert main(f"train rfs-distill {common} --steps 1".split()) != 0
