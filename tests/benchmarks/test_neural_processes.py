"""What neural processes are set beside, by torch's normal distribution; and the command on next to nothing."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from quickstudy.tasks.gp import GP, Parameters, covariance


@pytest.fixture
def claim() -> ModuleType:
    return importlib.import_module("neural_processes")


@pytest.mark.parametrize("kernel", ["rbf", "matern", "periodic"])
def test_the_exact_posterior_is_a_ratio_of_densities(claim: ModuleType, kernel: str) -> None:
    """log p(y | support) = log p(support and y) - log p(support), one query point at a time."""
    source = GP(kernel=kernel, shots=6, queries=3).source("test")
    found = claim._exact(source, 16)
    batch, parameters = source.batch(range(16)), source.parameters(range(16))
    for i in (0, 5):
        own = Parameters(*(each[i : i + 1] for each in parameters))

        def log_p(x: np.ndarray, y: torch.Tensor, own: Parameters = own) -> float:
            cov = covariance(kernel, own, x[None])[0] + 0.02**2 * np.eye(len(x))
            return float(MultivariateNormal(torch.zeros(len(x)).double(), torch.from_numpy(cov)).log_prob(y.double()))

        sx, sy = batch.support.x[i, :, 0], batch.support.y[i, :, 0]
        each = []
        for qx, qy in zip(batch.query.x[i, :, 0], batch.query.y[i, :, 0], strict=True):
            together = torch.cat([sx, qx[None]]).double().numpy(), torch.cat([sy, qy[None]])
            each.append(log_p(*together) - log_p(sx.double().numpy(), sy))
        assert found[i] == pytest.approx(np.mean(each), abs=1e-6)


def test_from_training_to_the_table(claim: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    asked = f"claim --steps 2 --tasks 16 --methods cnp convcnp --runs {tmp_path} --out {tmp_path}/found.json"
    monkeypatch.setattr(sys, "argv", asked.split())
    monkeypatch.setattr(claim, "METHODS", {**claim.METHODS, "convcnp": {"density": 4, "width": 4}})
    monkeypatch.setattr(claim, "CLAIMS", [("convolutions help", "rbf", "convcnp", "cnp")])
    claim.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["figures"]["rbf"]["convcnp"]["log p"]["mean"] == pytest.approx(
        found["figures"]["rbf, x + 4"]["convcnp"]["log p"]["mean"], abs=1e-4
    )
    assert found["figures"]["rbf"]["cnp"]["log p"] != found["figures"]["rbf, x + 4"]["cnp"]["log p"]
    assert found["claims"][0]["gain"]["low"] <= found["claims"][0]["gain"]["mean"]
    assert "exact GP" in capsys.readouterr().out


def test_minutes_stop_and_the_next_call_goes_on(
    claim: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = f"claim --steps 3 --tasks 16 --methods cnp --runs {tmp_path}"
    monkeypatch.setattr(claim, "CLAIMS", [])
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", [*asked.split(), "--minutes-each", "1e-9"])
        claim.main()
        assert "the same command goes on" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", asked.split())
    claim.main()
    assert "log-likelihood of a query point" in capsys.readouterr().out
