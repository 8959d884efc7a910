"""The benchmarks' arithmetic on made-up times, and one contender fed by hand: no peer is needed."""

import importlib
import json
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_a_ratio_is_that_of_paired_rounds() -> None:
    noise = random.Random(0)
    moments = [noise.uniform(1, 5) for _ in range(15)]  # how slow the machine was in each round
    found = load("harness.ratios").ratio([3 * m * noise.uniform(0.98, 1.02) for m in moments], moments)
    assert found["low"] <= found["median"] <= found["high"]
    assert found["low"] > 2.9
    assert found["high"] < 3.1


def test_a_ratio_of_constant_times_has_no_width() -> None:
    found = load("harness.ratios").ratio([6.0, 8.0], [3.0, 4.0])
    assert (found["low"], found["median"], found["high"]) == (2, 2, 2)


def test_unpaired_times_are_refused() -> None:
    with pytest.raises(ValueError, match="one a round"):
        load("harness.ratios").ratio([1.0], [1.0, 2.0])


def test_percentiles_are_numpys() -> None:
    values = [random.Random(1).random() for _ in range(37)]
    for share in (0, 2.5, 50, 99, 100):
        assert load("harness.ratios").percentile(values, share) == pytest.approx(np.percentile(values, share))


def test_the_exponent_of_a_power_is_its_power() -> None:
    found = load("harness.ratios").exponent([1, 2, 4, 8], [5 * size**1.5 for size in (1, 2, 4, 8)])
    assert found["exponent"] == pytest.approx(1.5)
    assert found["error"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["steps", "memory", "sampling", "growth", "workers", "page", "install"])
def test_scripts_import_without_peers(name: str) -> None:
    load(name)


@pytest.mark.parametrize("method", ["maml", "anil", "protonet", "r2d2"])
def test_our_step_is_a_plain_loop(method: str) -> None:
    import torch

    settings = load("harness.settings")
    setting = settings.Setting(method=method, tasks=1, ways=2, queries=2, steps=1, rate=0.01)
    arrays = {
        name: value.astype(np.float64) if value.dtype.kind == "f" else value
        for name, value in settings.draw(setting).items()
    }
    torch.set_default_dtype(torch.float64)
    try:
        loss, slopes = load("contenders.quickstudy").build(setting, arrays)()
        if method in ("maml", "r2d2"):
            theirs, expected = load("contenders.loop").build(setting, arrays)()
            assert loss == pytest.approx(theirs)
            for ours, plain in zip(slopes, expected, strict=True):
                torch.testing.assert_close(ours, plain)
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(slopes) == len(settings.weights_of(arrays))


def test_a_worker_answers_and_says_what_went_wrong(tmp_path: Path) -> None:
    settings = load("harness.settings")
    setting = settings.Setting(net="mlp", tasks=2, ways=1, shots=3, queries=3, steps=1)
    settings.save(tmp_path / "arrays.npz", settings.draw(setting))
    what = {"module": "loop", "setting": {"net": "mlp", "tasks": 2, "ways": 1, "shots": 3, "queries": 3, "steps": 1}}
    asked = [
        {"do": "build", **what, "arrays": str(tmp_path / "arrays.npz"), "options": {}},
        {"do": "turn", "times": 2},
        {"do": "build", **what, "arrays": "nowhere.npz", "options": {}},
    ]
    lines = "".join(json.dumps(request) + "\n" for request in asked)
    done = subprocess.run(
        [sys.executable, FOLDER / "worker.py"], input=lines, capture_output=True, text=True, check=True
    )
    built, turn, failed = map(json.loads, done.stdout.splitlines())
    assert built["seconds"] > 0
    assert turn["cpu"] > 0
    assert turn["wall"] > 0
    assert "nowhere.npz" in failed["error"]
