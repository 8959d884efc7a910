"""A prior-fitted network against the exact posterior of the Gaussian process that it was fitted to.

    python benchmarks/claims/pfn_gp.py
    python benchmarks/claims/pfn_gp.py --minutes 5       # goes on where it stopped

The claim (Müller et al. 2022, section 5.1): a transformer trained on data sets drawn from a prior approximates the
posterior predictive of that prior. Here the prior is a Gaussian process in one dimension with known hyperparameters, so
that the exact posterior is a formula and no method can be likelier on average. Measured are the mean negative
log-likelihoods of query points, in nats, and how far the predicted means are from the exact ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from budgeted import run_in, train
from trained import Values, batches, interval, settings, write

from quickstudy.core.lift import over_tasks
from quickstudy.core.predictions import Gaussian
from quickstudy.methods.memory.pfn import PFN
from quickstudy.tasks.gp import GP, GPSource, covariance
from quickstudy.train.settings import Training

PRIOR: dict[str, Any] = {"length": (0.4, 0.4), "scale": (1.0, 1.0), "noise": 0.1}
QUERIES, SHOTS = 20, (1, 5, 10, 20, 30)


def main() -> None:
    """Train what is left to train, then evaluate, print and write."""
    torch.set_num_threads(1)
    asked = _asked()
    training = Training(
        steps=asked.steps,
        batch=32,
        rate=asked.rate,
        clip=1.0,
        schedule="cosine",
        warmup=200,
        how="map",
        chunk=32,
        seed=asked.seed,
    )
    tasks = GP(shots=(1, 30), queries=QUERIES, most=30 + QUERIES, **PRIOR)
    run = run_in(asked.runs / f"pfn-mapped-{asked.steps}", settings({"name": "pfn"}, tasks, training))
    if not train("pfn", run, asked.minutes):
        print("Not trained to the end yet: the same command goes on.")
        return
    method, _ = run.method()
    assert isinstance(method, PFN)
    found = {}
    for shots in SHOTS:
        source = GP(shots=shots, queries=QUERIES, most=shots + QUERIES, **PRIOR).source("test")
        found[str(shots)] = _compared(method.eval(), source, asked.tasks)
        print(
            f"{shots:3} points: " + ", ".join(f"{name} {each['mean']:.4f}" for name, each in found[str(shots)].items())
        )
    gaps = [each["pfn's excess"]["mean"] for each in found.values()]
    print(f"mean excess over the exact posterior: {np.mean(gaps):.4f} nats")
    write(asked.out, {"pfn": run}, {"test tasks": asked.tasks, "after so many points": found, "excess": np.mean(gaps)})


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--minutes", type=float, default=None, help="stop after so long, to go on later")
    parser.add_argument("--tasks", type=int, default=2000, help="test functions for each number of points")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/pfn-gp"), help="where the run is kept")
    parser.add_argument("--out", type=Path, default=Path("docs/records/claims/pfn_gp.json"))
    return parser.parse_args()


def _compared(method: PFN, source: GPSource, tasks: int) -> dict[str, dict[str, float]]:
    """Means over tasks of the query points' nll, by the net and by the exact posterior, and of the means' distance."""
    rows: dict[str, list[Values]] = {"pfn": [], "exact": [], "means apart": []}

    def one(episode: Any) -> tuple[torch.Tensor, torch.Tensor]:
        said = method.predict(method.adapt(episode.support), episode.query.x)
        return said.nll(episode.query.y).mean(), said.mean

    for numbers, episodes in batches(source, tasks):
        with torch.no_grad():
            nll, mean = over_tasks(one, episodes)
        exact = _posterior(source, numbers, episodes)
        apart = (mean - exact.mean).abs().mean((1, 2))
        rows["pfn"].append(nll.double().numpy())
        rows["means apart"].append(apart.double().numpy())
        y = episodes.query.y.double()
        flat = Gaussian(exact.mean.flatten(0, 1), exact.std.flatten(0, 1)).nll(y.flatten(0, 1))
        rows["exact"].append(flat.view(y.shape[:2]).mean(1).numpy())
    values = {name: np.concatenate(each) for name, each in rows.items()}
    return {name: interval(each) for name, each in (values | {"pfn's excess": values["pfn"] - values["exact"]}).items()}


def _posterior(source: GPSource, numbers: range, episodes: Any) -> Gaussian:
    """Mean and deviation of query values given the support (Rasmussen and Williams 2006, equations 2.25 and 2.26)."""
    x = torch.cat([episodes.support.x, episodes.query.x], 1).double()[..., 0]
    cov = torch.from_numpy(covariance("rbf", source.parameters(numbers), x.numpy()))
    cov = cov + source.family.noise**2 * torch.eye(x.shape[1])
    n = episodes.support.x.shape[1]
    weights = torch.linalg.solve(cov[:, :n, :n], cov[:, :n, n:])
    mean = weights.transpose(1, 2) @ episodes.support.y.double()
    variance = cov.diagonal(dim1=1, dim2=2)[:, n:] - (weights * cov[:, :n, n:]).sum(1)
    return Gaussian(mean, variance.sqrt()[..., None])


if __name__ == "__main__":
    main()
