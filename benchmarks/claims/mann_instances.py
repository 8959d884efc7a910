"""A memory-augmented net sees characters for the first time: how often it is right by how often it has seen their kind.

    python benchmarks/claims/mann_instances.py
    python benchmarks/claims/mann_instances.py --minutes 5       # goes on where it stopped

The claim (Santoro et al. 2016, table 1): in a sequence of 50 characters of five classes that it has never seen, labels
drawn anew each time, it guesses at the first character of a class, and is right about the second in 82.8% and about the
fifth in 94.9% of cases. Set beside an LSTM with the same training, and the class of the nearest of all characters seen.
Training there was 100,000 batches of episodes from raw pixels. Here it is far shorter, and characters are read through
a prototypical network that was trained on the training classes and is kept as it is: only the binding is learned.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from budgeted import run_in, train
from trained import Values, along, batches, interval, settings, write

from quickstudy.core.apply import apply
from quickstudy.core.settings import load
from quickstudy.methods.memory.sequence import SequenceLearner
from quickstudy.tasks.features import Features
from quickstudy.tasks.omniglot import Omniglot
from quickstudy.tasks.source import TaskSource
from quickstudy.train.run import Run, RunSettings
from quickstudy.train.settings import Training

WAYS, TIMES = 5, 10
SHOWN = (1, 2, 3, 4, 5, 10)
PUBLISHED = {"mann": {"2": 0.828, "5": 0.949}}
METHODS = {"mann": {}, "lstm": {"scored": "all", "width": 200}}
AT_ONCE = 1000
"""Characters that are embedded together; as many are drawn to measure normalisation on."""


def main() -> None:
    """Train what is left to train, then evaluate, print and write."""
    torch.set_num_threads(1)
    asked = _asked()
    reader = run_in(asked.runs / f"reader-{asked.reader_steps}", _reading(asked))
    if not train("reader", reader, asked.minutes):
        print("Not trained to the end yet: the same command goes on.")
        return
    file = asked.runs / f"features-{asked.reader_steps}.npz"
    if not file.exists():
        _embed(reader, file)
    # All tasks of a step at once: reading 50 characters one after the other then costs no more than for one task.
    training = Training(
        steps=asked.steps, batch=16, rate=asked.rate, clip=10.0, schedule="cosine", how="map", chunk=16, seed=asked.seed
    )
    net = load("net", {"name": "flatten"})
    tasks = Features(path=file, ways=WAYS, shots=1, queries=TIMES - 1)
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
    found["nearest features"] = _nearest(source, asked.tasks)
    found["nearest pixels"] = _nearest(_characters().source("test"), asked.tasks)
    print(f"share right at the first, second, ... character of a class, {asked.tasks} sequences")
    for name, by_instance in found.items():
        print(f"{name:16}" + "".join(f"{at:>4}: {each['mean']:.3f}" for at, each in by_instance.items()))
    write(
        asked.out,
        {"reader": reader} | runs,
        {"test tasks": asked.tasks, "right at instance": found, "published": PUBLISHED},
    )


def _characters() -> Omniglot:
    return Omniglot(ways=WAYS, shots=1, queries=TIMES - 1)


def _reading(asked: argparse.Namespace) -> RunSettings:
    """Of the run that learns to tell characters apart."""
    training = Training(
        steps=asked.reader_steps, batch=1, rate=0.003, schedule="cosine", precision="bf16", channels_last=True
    )
    net = load("net", {"name": "conv4"})
    chosen = settings({"name": "protonet", "temperature": 8.0}, _characters(), training, net)
    return dataclasses.replace(chosen, train={"ways": 60, "queries": 5})


def _embed(reader: Run, file: Path) -> None:
    """Write the features of all characters, of mean 0 and deviation 1 over those for training."""
    method, _ = reader.method()
    net = method.eval().get_submodule("net")
    splits = _characters().pools()
    x = splits.train.x  # which all splits share
    of_split = {
        name: [np.arange(start, start + count) for start, count in zip(pool.starts, pool.counts, strict=True)]
        for name, pool in splits._asdict().items()
    }
    training = np.concatenate(of_split["train"])
    drawn = np.random.default_rng(0).choice(training, AT_ONCE, replace=False)
    with torch.no_grad():
        _, statistics = apply(net, None, x[drawn].float() / 255)
        parts = [
            apply(net, None, x[at : at + AT_ONCE].float() / 255, statistics=statistics)[0]
            for at in range(0, len(x), AT_ONCE)
        ]
    z = torch.cat(parts).float().numpy()
    z = (z - z[training].mean(0)) / z[training].std(0)
    rows = {name: np.concatenate(classes) for name, classes in of_split.items()}
    split = np.concatenate([np.repeat(name, len(each)) for name, each in rows.items()])
    names = [np.repeat(pool.names, pool.counts) for pool in splits]
    np.savez(file, x=z[np.concatenate(list(rows.values()))], y=np.concatenate(names), split=split)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--reader-steps", type=int, default=1500, help="of the prototypical network")
    parser.add_argument("--rate", type=float, default=2e-3)
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


def _nearest(source: TaskSource, tasks: int) -> dict[str, dict[str, float]]:
    """The class of the nearest example so far, in random order."""
    rights, labels = [], []
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
