"""What the claims about memory are set beside, by brute force; and one claim end to end, on next to nothing."""

import importlib
import json
import sys
from types import ModuleType

import numpy as np
import pytest


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("examples", [2, 7])
def test_what_the_transformer_is_set_beside(examples):
    claim, rng = load("in_context"), np.random.default_rng(0)
    x, y, asked = rng.normal(size=(3, examples, 4)), rng.normal(size=(3, examples)), rng.normal(size=(3, 4))
    said = {name: way(x, y, asked) for name, way in claim.BESIDE.items()}
    for t in range(3):
        fitted = np.linalg.lstsq(x[t], y[t], rcond=None)[0] @ asked[t]
        assert said["least squares"][t] == pytest.approx(fitted)
        rows = np.concatenate([x[t], claim.RIDGE**0.5 * np.eye(4)])
        ridge = np.linalg.lstsq(rows, np.concatenate([y[t], np.zeros(4)]), rcond=None)[0] @ asked[t]
        assert said["ridge"][t] == pytest.approx(ridge)
        near = sorted(range(examples), key=lambda i: np.linalg.norm(x[t, i] - asked[t]))[:3]
        assert said["three nearest"][t] == pytest.approx(np.mean([y[t, i] for i in near]))
        mean = sum(y[t, i] * x[t, i] for i in range(examples)) / examples
        assert said["averaging"][t] == pytest.approx(mean @ asked[t])


def test_characters_are_counted_by_their_class():
    claim = load("mann_instances")
    labels = np.eye(5, dtype=bool)[np.array([[0, 1, 0, 2, 0, 3, 4, 1, 2, 3, 4]])]
    right = np.array([[0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 0.0]])
    found = claim._by_instance(np.repeat(right, 2, 0), np.repeat(labels, 2, 0))
    assert found["1"]["mean"] == pytest.approx(2 / 5)
    assert found["2"]["mean"] == pytest.approx(3 / 5)


def test_a_claim_from_training_to_results(tmp_path, monkeypatch, capsys):
    claim = load("lstm_quadratics")
    said = [
        "x",
        "--steps",
        "2",
        "--tasks",
        "4",
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path / "found.json"),
    ]
    monkeypatch.setattr(sys, "argv", said)
    claim.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["trained"]["lstm"]["steps"] == 2
    after = found["squared error after"]
    assert after["least squares"]["6"]["mean"] < 1e-3 < after["least squares"]["2"]["mean"]
    assert set(after) == {"lstm", "least squares", "running mean"}
    assert "squared error after so many examples" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*said, "--rate", "0.5"])  # the folder has the run of another rate
    with pytest.raises(SystemExit, match=r"lstm-2 holds a run with other settings: remove it"):
        claim.main()
