"""Methods on features of a file in place of a net of their own, from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quickstudy.cli import main
from quickstudy.train.run import Run

NAMES = [
    *("matching", "matching-fce", "relation", "siamese", "r2d2", "metaoptnet", "metaoptnet-rr", "tadam"),
    *("meta-baseline", "anil", "leo", "rfs", "simpleshot", "baseline++"),
]


@pytest.fixture(autouse=True)
def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    y = np.arange(20).repeat(8)
    x = np.eye(20)[y] + 0.5 * np.random.default_rng(0).normal(size=(160, 20))
    np.savez("features.npz", x=x.astype("float32"), y=y)


def train(line: str) -> int:
    common = "--tasks features --tasks.path features.npz --tasks.ways 3 --tasks.queries 3 --validate-every 0"
    return main(["train", *line.split(), *common.split(), "--threads", "1", "--quiet", "--steps", "2", "--batch", "2"])


@pytest.mark.parametrize("name", NAMES)
def test_features_as_they_are(name: str) -> None:
    assert train(f"{name} --net flatten --out run") == 0
    method, _ = Run.open("run").method()
    assert not list(method.net.parameters())


def test_a_small_net_on_features() -> None:
    assert train("protonet --out run") == 0
    assert Run.open("run").settings.plain()["net"]["name"] == "mlp"


@pytest.mark.parametrize("name", ["protonet", "protomaml"])
def test_nothing_to_train_is_said_with_ways_on(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(f"{name} --net flatten") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "has no weights to train" in said
    assert "mlp or conv4 in place of flatten" in said
    assert {each for each in NAMES if each in said} >= {"r2d2", "meta-baseline", "anil"}
    assert train(f"{name} --net mlp --out run") == 0


def test_a_run_finds_its_file_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("r2d2 --net flatten --out run") == 0
    monkeypatch.chdir("/")
    asked = "--episodes 3 --no-floors --no-curves --quiet --threads 1 --json"
    assert main(["evaluate", str(tmp_path / "run"), *asked.split()]) == 0
