"""Programs: an inner loop exported says what it says in Python, and what would not is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bundle.made import bundle_of, episode_of, labels_of, subject_of, toy
from quickstudy.bundle import export
from quickstudy.bundle.calibration import Calibration
from quickstudy.bundle.export import NOTES, write
from quickstudy.bundle.program import adapting, specialised
from quickstudy.errors import BundleError, ExtraError, SettingsError
from quickstudy.evaluate.novelty import Detector

CALIBRATIONS = [Calibration(5, 3, Detector("energy over support", -0.5, 0.9), 2.5)]
FEW: dict[str, dict[str, Any]] = {"maml": {"steps": 2}, "protonet": {}}
"""Fewer steps make quicker exports."""


def opened(path: Path) -> tuple[Any, dict[str, Any]]:
    """What stands in an archive of torch.export, as one with torch alone would open it."""
    notes = {NOTES: ""}
    loaded = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=notes)
    return loaded.module(), json.loads(notes[NOTES])


@pytest.mark.parametrize("name", ["maml", "protonet"])
def test_adapting_is_what_the_bundle_does(name: str, tmp_path: Path) -> None:
    """Uneven shots and a missing class, at a temperature, in an archive that is opened again."""
    subject = subject_of(name, "categorical", **FEW[name])
    bundle = bundle_of(subject, calibrations=CALIBRATIONS)
    episode = episode_of(subject)
    program = adapting(bundle, ways=5, shots=3, queries=len(episode.query.x))
    assert write(program, tmp_path / "p.pt2") < 1e-5
    run, notes = opened(tmp_path / "p.pt2")
    assert notes["version"] == bundle.version
    assert notes["inputs"] == {"support": [15, 16], "labels": [15], "queries": [20, 16]}
    assert notes["encoder"] == {"name": "vector", "item": [16]}

    labels = labels_of(episode)
    used = [at for at, label in enumerate(labels) if label < 4 and (label or at < 10)]
    given = torch.tensor([label if at in used else -1 for at, label in enumerate(labels)])
    (said,) = run(episode.support.x, given, episode.query.x)
    learner = bundle.adapt(episode.support.x[used], [labels[at] for at in used])
    expected = bundle.predict(learner, episode.query.x).mean
    torch.testing.assert_close(said[:, :4], expected, atol=1e-5, rtol=0)
    assert said[:, 4].abs().max() == 0  # a class without an example


@pytest.mark.parametrize("name", ["maml", "dkt"])
def test_a_specialised_learner(name: str, tmp_path: Path) -> None:
    bundle, subject = toy(name, calibrations=CALIBRATIONS)
    episode = episode_of(subject)
    learner = bundle.adapt(episode.support.x, labels_of(episode))
    assert write(specialised(bundle, learner, [*"abcde"], batch=4), tmp_path / "l.pt2") < 1e-5
    run, notes = opened(tmp_path / "l.pt2")
    assert notes["classes"] == [*"abcde"]
    said, margin = run(episode.query.x[:4])
    expected = bundle.predict(learner, episode.query.x[:4])
    torch.testing.assert_close(said, expected.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(margin, bundle.margins(learner, expected), atol=1e-5, rtol=0)


def test_real_values(tmp_path: Path) -> None:
    subject = subject_of("maml", "gaussian", steps=1)
    bundle = bundle_of(subject)
    episode = episode_of(subject)
    count = len(episode.support.x)
    program = adapting(bundle, ways=1, shots=count, queries=2)
    assert program.outputs == ["mean", "deviation"]
    write(program, tmp_path / "p.pt2")
    run, _ = opened(tmp_path / "p.pt2")
    y = episode.support.y.clone()
    y[-1] = float("nan")
    mean, deviation = run(episode.support.x, y, episode.query.x[:2])
    alone = bundle.predict(bundle.adapt(episode.support.x[:-1], episode.support.y[:-1]), episode.query.x[:2])
    torch.testing.assert_close(mean, alone.mean, atol=1e-5, rtol=1e-5)
    assert (deviation > 0).all()


def test_what_computes_something_else_is_not_kept(tmp_path: Path) -> None:
    bundle, _ = toy("protonet")
    program = adapting(bundle, ways=2, shots=1)
    wrong = program._replace(function=lambda *inputs: tuple(each + 0.01 for each in program.function(*inputs)))
    with pytest.raises(BundleError, match=r"differs from the bundle by 0\.01, where 0\.0001 is the most"):
        write(wrong, tmp_path / "p.pt2")
    empty = program._replace(function=lambda *inputs: tuple(each * float("nan") for each in program.function(*inputs)))
    with pytest.raises(BundleError, match="differs from the bundle by inf"):
        write(empty, tmp_path / "p.pt2")
    assert list(tmp_path.iterdir()) == []


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, _ = toy("maml")
    with pytest.raises(SettingsError, match="ways=6; toy was trained for 5 classes"):
        adapting(bundle, ways=6, shots=1)
    program = adapting(bundle, ways=2, shots=1)
    with pytest.raises(SettingsError, match=r"ends in '\.tflite'; expected \.onnx or \.pt2"):
        write(program, tmp_path / "p.tflite")

    def absent(module: str, name: str) -> Any:
        raise ExtraError(f"{module} comes with {name}")

    monkeypatch.setattr(export, "extra", absent)
    with pytest.raises(ExtraError, match="onnx comes with export"):
        write(program, tmp_path / "p.onnx")
    assert list(tmp_path.iterdir()) == []
