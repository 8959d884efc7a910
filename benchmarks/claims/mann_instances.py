"""A memory-augmented net sees characters for the first time: how often it is right by how often it has seen their kind.

    python benchmarks/claims/mann_instances.py
    python benchmarks/claims/mann_instances.py --minutes 5       # goes on where it stopped

The claim (Santoro et al. 2016, table 1): in a sequence of 50 characters of five classes that it has never seen, labels
drawn anew each time, it guesses at the first character of a class, and is right about the second in 82.8% and about the
fifth in 94.9% of cases. Set beside an LSTM with the same training, and the class of the nearest of all characters seen,
pixel by pixel. Training there was 100,000 episodes of batches from raw pixels; here it is far shorter, and both nets
read characters through a convolutional net.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from budgeted import run_in, train
from trained import Values, along, batches, interval, settings, write

from quickstudy.core.settings import load
from quickstudy.methods.memory.sequence import SequenceLearner
from quickstudy.tasks.omniglot import Omniglot
from quickstudy.train.settings import Training

WAYS, TIMES = 5, 10
SHOWN = (1, 2, 3, 4, 5, 10)
PUBLISHED = {"mann": {"2": 0.828, "5": 0.949}}
METHODS = {"mann": {}, "lstm": {"scored": "all", "width": 200}}


def main() -> None:
    """Train what is left to train, then evaluate, print and write."""
    torch.set_num_threads(1)
    asked = _asked()
    # All tasks of a step at once: reading 50 characters one after the other then costs no more than for one task.
    training = Training(
        steps=asked.steps, batch=16, rate=asked.rate, clip=10.0, schedule="cosine", how="map", chunk=16, seed=asked.seed
    )
    net = load("net", {"name": "conv4", "downsample": "stride", "width": 32})
    tasks = Omniglot(ways=WAYS, shots=1, queries=TIMES - 1)
    runs = {
        name: run_in(asked.runs / f"{name}-{asked.steps}", settings({"name": name, **more}, tasks, training, net))
        for name, more in METHODS.items()
    }
    done = [train(name, run, asked.minutes) for name, run in runs.items()]
    if not all(done):
        print("Not trained to the end yet: the same command goes on.")
        return
    source, found = tasks.source("test"), {}
    for name, run in runs.items():
        method, _ = run.method()
        assert isinstance(method, SequenceLearner)
        right, labels = along(method.eval(), source, asked.tasks)
        found[name] = _by_instance(right, labels)
    found["nearest pixels"] = _nearest(asked.tasks)
    print(f"share right at the first, second, ... character of a class, {asked.tasks} sequences")
    for name, by_instance in found.items():
        print(f"{name:16}" + "".join(f"{at:>4}: {each['mean']:.3f}" for at, each in by_instance.items()))
    write(asked.out, runs, {"test tasks": asked.tasks, "right at instance": found, "published": PUBLISHED})


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--minutes", type=float, default=None, help="stop each after so long, to go on later")
    parser.add_argument("--tasks", type=int, default=640, help="test sequences")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/mann-instances"), help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/records/claims/mann_instances.json"))
    return parser.parse_args()


def _by_instance(right: Values, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """The mean over each task's characters that are the first, second, ... of their class."""
    instance = (np.cumsum(labels, 1) * labels).sum(-1)
    return {str(at): interval(np.where(instance == at, right, 0).sum(1) / WAYS) for at in SHOWN}


def _nearest(tasks: int) -> dict[str, dict[str, float]]:
    """The class of the nearest character so far, in random order."""
    source, rights, labels = Omniglot(ways=WAYS, shots=1, queries=TIMES - 1).source("test"), [], []
    rng = np.random.default_rng(0)
    for _, episodes in batches(source, tasks):
        x, y = (torch.cat([part[i] for part in episodes], 1).numpy() for i in (0, 1))
        for each, label in zip(x.reshape(*x.shape[:2], -1), y, strict=True):
            order = rng.permutation(len(each))
            points, kinds = each[order], label[order]
            apart = ((points[:, None] - points[None]) ** 2).sum(-1) + np.triu(np.full((len(points),) * 2, np.inf))
            said = kinds[apart.argmin(1)]
            rights.append((said & kinds).any(-1) & (np.arange(len(points)) > 0))
            labels.append(kinds)
    return _by_instance(np.array(rights, dtype=np.float64), np.array(labels))


if __name__ == "__main__":
    main()
