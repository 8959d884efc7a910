"""A transformer learns linear regression in context: its error by examples seen, beside least squares; and its limits.

    python benchmarks/claims/in_context.py
    python benchmarks/claims/in_context.py --minutes 5       # goes on where it stopped

The claim (Garg et al. 2022, figure 2): on functions y = w · x that it has never seen, the error of the transformer
follows that of least squares, and is next to nothing once there are more examples than dimensions. Figures are squared
errors over the number of dimensions, so that knowing nothing costs 1. Its limits are measured too: inputs scaled or
skewed and values with noise, none of which training had, and prompts longer than those that training scored.

Examples are tokens of an input with its label, which are learned from in far fewer steps than the paper's alternating
tokens (`--tokens alternate`); the net is the paper's smallest, and its training half a million steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from budgeted import run_in, train
from trained import Values, along, batches, interval, settings, write

from quickstudy.methods.memory.transformer import InContext
from quickstudy.tasks.linear import Linear
from quickstudy.train.settings import Training

SIZE, POINTS, LONGER = 5, 11, 31
ELSEWHERE: dict[str, dict[str, Any]] = {
    "as trained": {},
    "inputs x 1/3": {"scale": 1 / 3},
    "inputs x 2": {"scale": 2.0},
    "inputs x 3": {"scale": 3.0},
    "skewed inputs": {"spread": "skewed"},
    "noise 0.5": {"noise": 0.5},
    "sparse": {"sparse": 1},
}


def main() -> None:
    """Train what is left to train, then evaluate, print and write."""
    torch.set_num_threads(1)
    asked = _asked()
    training = Training(
        steps=asked.steps,
        batch=64,
        rate=asked.rate,
        clip=1.0,
        schedule="cosine",
        warmup=500,
        how="map",
        chunk=64,
        compile="always",
        seed=asked.seed,
    )
    chosen = settings({"name": "transformer", "tokens": asked.tokens, "scored": "all"}, _tasks(POINTS), training)
    run = run_in(asked.runs / f"{asked.tokens}-all-{asked.steps}", chosen)
    if not train(asked.tokens, run, asked.minutes):
        print("Not trained to the end yet: the same command goes on.")
        return
    method, _ = run.method()
    assert isinstance(method, InContext)
    found: dict[str, Any] = {}
    for where, changes in ELSEWHERE.items():
        found[where] = _errors(method, _tasks(POINTS, **changes), asked.tasks)
    found["longer prompts"] = _errors(method, _tasks(LONGER), asked.tasks)
    for where, by_name in found.items():
        print(f"{where}: squared error / {SIZE} after so many examples, {asked.tasks} functions")
        for name, values in by_name.items():
            print(f"  {name:16}" + "".join(f"{at:>4}: {each['mean']:7.4f}" for at, each in values.items()))
    write(
        asked.out,
        {"transformer": run},
        {"test tasks": asked.tasks, "examples in training": POINTS - 1, "errors": found},
    )


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--tokens", choices=["alternate", "delayed", "pairs"], default="pairs")
    parser.add_argument("--minutes", type=float, default=None, help="stop after so long, to go on later")
    parser.add_argument("--tasks", type=int, default=2000, help="test functions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/in-context"), help="where the run is kept")
    parser.add_argument("--out", type=Path, default=Path("docs/records/claims/in_context.json"))
    return parser.parse_args()


def _tasks(points: int, **changes: Any) -> Linear:
    return Linear(size=SIZE, shots=points // 2, queries=points - points // 2, **changes)


def _errors(method: InContext, tasks: Linear, count: int) -> dict[str, Any]:
    """Squared error over dimensions by the number of examples seen, of the transformer and of what it is set beside."""
    source = tasks.source("test")
    values = {"transformer": along(method, source, count)[0]} | {name: [] for name in BESIDE}
    for _, episodes in batches(source, count):
        x, y = (torch.cat([part[i] for part in episodes], 1).double().numpy() for i in (0, 1))
        y = y[..., 0]
        for name, said in BESIDE.items():
            each = [said(x[:, :n], y[:, :n], x[:, n]) if n else np.zeros(len(y)) for n in range(y.shape[1])]
            values[name].append((np.stack(each, 1) - y) ** 2)
    whole = {name: np.concatenate(each) if isinstance(each, list) else each for name, each in values.items()}
    points = next(iter(whole.values())).shape[1]
    shown = [at for at in (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30) if at < points]
    return {name: {str(at): interval(each[:, at] / SIZE) for at in shown} for name, each in whole.items()}


# --- what it is set beside: values at one more place [t, d], said from examples [t, n, d] and [t, n] ------------------


def _least_squares(x: Values, y: Values, asked: Values) -> Values:
    found: Values = ((np.linalg.pinv(x) @ y[..., None])[..., 0] * asked).sum(-1)
    return found


def _ridge(x: Values, y: Values, asked: Values) -> Values:
    turned = x.transpose(0, 2, 1)
    weights = np.linalg.solve(turned @ x + RIDGE * np.eye(x.shape[-1]), turned @ y[..., None])[..., 0]
    found: Values = (weights * asked).sum(-1)
    return found


def _three_nearest(x: Values, y: Values, asked: Values) -> Values:
    apart = ((x - asked[:, None]) ** 2).sum(-1)
    found: Values = np.take_along_axis(y, apart.argsort(1)[:, :3], 1).mean(1)
    return found


def _averaging(x: Values, y: Values, asked: Values) -> Values:
    """With weights that are the mean of y · x, what one step of gradient descent has in mind."""
    found: Values = ((x * y[..., None]).mean(1) * asked).sum(-1)
    return found


RIDGE = 0.25
"""The penalty that is right for noise of 0.5 on values: its variance, where weights have variance 1."""
BESIDE: dict[str, Callable[[Values, Values, Values], Values]] = {
    "least squares": _least_squares,
    "ridge": _ridge,
    "three nearest": _three_nearest,
    "averaging": _averaging,
}


if __name__ == "__main__":
    main()
