"""An LSTM learns quadratic functions in its state: its error by position, beside least squares that knows the features.

    python benchmarks/claims/lstm_quadratics.py
    python benchmarks/claims/lstm_quadratics.py --minutes 5       # goes on where it stopped

The claim (Hochreiter et al. 2001): with its weights fixed, the net's error on a function that it has never seen falls
to a low one in about 35 examples. Least squares with the six true features needs six, and cannot do better than be
right; the mean of the values seen so far is what knowing nothing of inputs gives. Squared errors are means over test
functions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from budgeted import run_in, train
from trained import Values, along, batches, interval, settings, write

from quickstudy.methods.memory.lstm import LSTM
from quickstudy.tasks.linear import Quadratics, quadratic_features
from quickstudy.train.settings import Training

SHOWN = (0, 1, 2, 5, 6, 10, 20, 35, 50, 75, 99)


def main() -> None:
    """Train what is left to train, then evaluate, print and write."""
    torch.set_num_threads(1)
    asked = _asked()
    training = Training(steps=asked.steps, batch=64, rate=asked.rate, clip=1.0, schedule="cosine", seed=asked.seed)
    run = run_in(
        asked.runs / f"lstm-{asked.steps}", settings({"name": "lstm", "scored": "all"}, Quadratics(), training)
    )
    if not train("lstm", run, asked.minutes):
        print("Not trained to the end yet: the same command goes on.")
        return
    method, _ = run.method()
    assert isinstance(method, LSTM)
    source = Quadratics().source("test")
    by_position = {"lstm": along(method, source, asked.tasks)[0]} | _known(asked.tasks)
    print(f"squared error after so many examples, {asked.tasks} functions")
    for name, values in by_position.items():
        print(f"{name:14}" + "".join(f"{at:4}: {values[:, at].mean():8.5f}" for at in SHOWN))
    found = {name: {str(at): interval(values[:, at]) for at in SHOWN} for name, values in by_position.items()}
    write(asked.out, {"lstm": run}, {"test tasks": asked.tasks, "squared error after": found})


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--minutes", type=float, default=None, help="stop after so long, to go on later")
    parser.add_argument("--tasks", type=int, default=2000, help="test functions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/lstm-quadratics"), help="where the run is kept")
    parser.add_argument("--out", type=Path, default=Path("docs/records/claims/lstm_quadratics.json"))
    return parser.parse_args()


def _known(tasks: int) -> dict[str, Values]:
    """The squared errors of least squares and of the running mean, [tasks, n] each."""
    found: dict[str, list[Values]] = {"least squares": [], "running mean": []}
    for _, episodes in batches(Quadratics().source("test"), tasks):
        x, y = (torch.cat([part[i] for part in episodes], 1).double().numpy() for i in (0, 1))
        f, y = quadratic_features(x), y[..., 0]
        count = np.maximum(np.arange(y.shape[1]), 1)
        mean = (np.cumsum(y, 1) - y) / count
        fitted = np.stack([_fitted(f[:, :n], y[:, :n], f[:, n]) for n in range(y.shape[1])], 1)
        found["least squares"].append((fitted - y) ** 2)
        found["running mean"].append((mean - y) ** 2)
    return {name: np.concatenate(values) for name, values in found.items()}


def _fitted(x: Values, y: Values, asked: Values) -> Values:
    """What least squares (of least norm while it is open) says of one more place of each task."""
    if not x.shape[1]:
        return np.zeros(len(x))
    found: Values = ((np.linalg.pinv(x) @ y[..., None])[..., 0] * asked).sum(-1)
    return found


if __name__ == "__main__":
    main()
