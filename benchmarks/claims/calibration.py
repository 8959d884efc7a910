"""Can few-shot classifiers' probabilities be taken at their word, even where two classes share their only example?

    python benchmarks/claims/calibration.py

Seven methods learn Omniglot (Vinyals' split, 5-way 1-shot) on the same net, in as many outer steps of 4 tasks each. A
temperature for each is fitted on validation tasks, and the expected calibration error of its probabilities measured on
test tasks before and after.

Then they are asked tasks in which two of the five classes have the same support example, drawn from one of the two.
Nothing says which of both it is: the right answer to their queries is one half each, and a probability above that is
wrong. None was trained on such tasks, unless `--share 0.5` has them among those of training, and of those that the
temperature is fitted on; a transformer that reads the support as a whole (TNP) can be added. Figures are of the queries
of these two classes, after the same temperature: the NLL, the mean probability of the most likely class, how often that
is right, and the expected calibration error, with intervals by resampling tasks. "owner" are the queries of the class
that the example is of, which look like it; those of the other look like no example.

A run goes on where it stopped: with `--minutes-each 2` every call adds at most so much to each that is not done.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from budgeted import Budgeted, table, written
from numpy.typing import NDArray

from quickstudy.core import chance
from quickstudy.core.episode import Episode, to_device
from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import over_tasks
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import load
from quickstudy.evaluate.calibration import BINS
from quickstudy.evaluate.evaluate import noise_for
from quickstudy.evaluate.statistics import t_interval
from quickstudy.evaluate.temperature import cheapest
from quickstudy.tasks.source import Indices, TaskSource
from quickstudy.train.run import RunSettings, training_source
from quickstudy.train.settings import Training

ALIKE = {"name": "omniglot", "ways": 5, "shots": 1, "queries": 5}
NET = {"name": "conv4", "width": 32}
FIRST = {"gradient": "first-order"}
STEP: dict[str, Any] = {**FIRST, "rule": {"name": "sgd", "rate": 0.1}}
METHODS: dict[str, dict[str, Any]] = {
    "ProtoNet": {"name": "protonet"},
    "VERSA": {"name": "versa"},
    "DKT": {"name": "dkt"},
    "TNP": {"name": "tnp"},
    "MAML": {"name": "maml", **STEP},
    "ABML": {"name": "abml", **STEP},
    "PLATIPUS": {"name": "platipus", **STEP},
    "BMAML": {"name": "bmaml", "particles": 3, "rate": 0.3, "lead": 2, **FIRST},
}
"""First-order, and Bayesian MAML with three particles, for the sake of time; its rate is shared by them."""
USUAL = [name for name in METHODS if name != "TNP"]
RATES = {"TNP": 1e-3}
"""Of the outer steps, where 2e-3 is too much."""
BATCH = 50
DRAWS = 2000

Array = NDArray[np.float64]


class Said(NamedTuple):
    """Log-probabilities and one-hot labels of the queries of each task, [t, n, k]."""

    log_p: torch.Tensor
    y: torch.Tensor

    def at(self, temperature: float) -> Said:
        """The same after a temperature."""
        return self._replace(log_p=(self.log_p / temperature).log_softmax(-1))


def main() -> None:
    """Train what is left to train, then evaluate and print."""
    torch.set_num_threads(1)
    asked = _asked()
    runs = Budgeted(asked.runs, asked.minutes_each)
    chosen = {name: _settings(name, asked) for name in asked.methods}
    done = [
        runs.train(_title(name, asked), run, SharedSupport(training_source(run), asked.share) if asked.share else None)
        for name, run in chosen.items()
    ]
    if not all(done):
        print("Not all are trained yet: the same command goes on.")
        return
    tasks = load("tasks", ALIKE)
    val, test = (tasks.source(split) for split in ("val", "test"))
    sharing = SharedSupport(test)
    told_of = SharedSupport(val, asked.share) if asked.share else val
    classes: dict[str, dict[str, Any]] = {}
    shared: dict[str, dict[str, Any]] = {}
    for name in asked.methods:
        method = runs.method(_title(name, asked))
        told, said = answers(method, told_of, asked.validation), answers(method, test, asked.tasks)
        temperature = temperature_of(told)
        classes[name] = _classes(said, temperature)
        shared[name] = figures_at(answers(method, sharing, asked.tasks), temperature, sharing)
        print(
            f"{name:9} ECE {classes[name]['ece after']:.4f}, shared {shared[name]['both']['ece']['mean']:.4f}",
            flush=True,
        )
    print(
        table(["", *next(iter(classes.values()))], [[n, *(f"{v:.4f}" for v in e.values())] for n, e in classes.items()])
    )
    rows = [
        [
            f"{name}, {where}",
            *(f"{each['mean']:.4f} ({each['low']:.4f} to {each['high']:.4f})" for each in found.values()),
        ]
        for name, by_part in shared.items()
        for where, found in by_part.items()
    ]
    print(table(["", *next(iter(shared.values()))["both"]], rows))
    written(
        asked.out,
        runs,
        {
            "validation tasks": asked.validation,
            "test tasks": asked.tasks,
            "share of training tasks": asked.share,
            "test sets": {"usual": test.digest(range(asked.tasks)), "shared": sharing.digest(range(asked.tasks))},
            "classes": classes,
            "shared support": shared,
        },
    )


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2400, help="outer steps of each method")
    parser.add_argument("--minutes-each", type=float, default=None, help="stop each after so long, to go on later")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=USUAL)
    parser.add_argument(
        "--share", type=float, default=0.0, help="of training tasks, those whose classes share examples"
    )
    parser.add_argument("--validation", type=int, default=1000, help="validation tasks that temperatures are fitted on")
    parser.add_argument("--tasks", type=int, default=400, help="test tasks of either kind")
    parser.add_argument("--runs", type=Path, default=Path("runs/calibration"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/records/claims/calibration.json"))
    return parser.parse_args()


def _title(name: str, asked: argparse.Namespace) -> str:
    return f"{name}{', sharing' if asked.share else ''}, {asked.steps}"


def _settings(name: str, asked: argparse.Namespace) -> RunSettings:
    training = Training(
        steps=asked.steps,
        batch=4,
        rate=RATES.get(name, 2e-3),
        schedule="cosine",
        clip=10.0,
        precision="bf16",
        channels_last=True,
    )
    return RunSettings(
        method=load("method", METHODS[name]), tasks=load("tasks", ALIKE), net=load("net", NET), training=training
    )


# --- tasks ------------------------------------------------------------------------------------------------------------


class SharedSupport(TaskSource):
    """Tasks in which two classes have the same support examples, drawn from one of them.

    Args:
        of: The tasks, in which these are changed.
        share: Of them that are; the others are left as they are.
    """

    def __init__(self, of: TaskSource, share: float = 1.0) -> None:
        self.of, self.share, self.item, self.outputs = of, share, of.item, of.outputs
        self.key = chance.key("shared support", of.identity["seed"])

    @property
    def identity(self) -> dict[str, Any]:
        return {"shared support": self.of.identity} | ({} if self.share == 1 else {"share": self.share})

    def pairs(self, indices: Indices) -> NDArray[np.int64]:
        """The two ways of each task that share examples, [t, 2]: the owner's first."""
        return chance.choose(chance.words(self.key, indices, 2), self.outputs)

    def batch(self, indices: Indices) -> Episode:
        support, query = self.of.batch(indices)
        changed = chance.uniforms(self.key, indices, 3)[:, 2] < self.share
        x, tasks = support.x.clone(), np.flatnonzero(changed)
        owner, other = self.pairs(indices)[changed].T
        rounds = x.view(len(indices), -1, self.outputs, *self.item)
        rounds[tasks, :, other] = rounds[tasks, :, owner]
        return Episode(support._replace(x=x), query)

    def parts(self, indices: Indices, y: torch.Tensor) -> dict[str, torch.Tensor]:
        """Which queries are of either of the two classes, and which of the owner, [t, n]."""
        owner, other = torch.from_numpy(self.pairs(indices)).T[..., None]
        way = y.to(torch.int8).argmax(-1)
        return {"both": (way == owner) | (way == other), "owner": way == owner}


# --- figures ----------------------------------------------------------------------------------------------------------


def answers(method: MetaLearner, source: TaskSource, tasks: int) -> Said:
    """What a method says of all queries. Probabilities of a mixture are the mean of its members'."""
    found, digest = [], source.digest(range(tasks))
    for start in range(0, tasks, BATCH):
        numbers = range(start, min(start + BATCH, tasks))
        episodes = to_device(source.batch(numbers), "cpu")

        def say(episode: Episode, *noise: torch.Tensor) -> torch.Tensor:
            said = method.predict(method.adapt(episode.support, *noise), episode.query.x)
            return said.logits.log_softmax(-1) if isinstance(said, Categorical) else said.mean.clamp(min=1e-12).log()

        with torch.no_grad():
            found.append(
                Said(over_tasks(say, episodes, *noise_for(method, digest, numbers), chunk=10), episodes.query.y)
            )
    return Said(*(torch.cat(each) for each in zip(*found, strict=True)))


def temperature_of(said: Said) -> float:
    """At which these queries cost least."""
    return cheapest(lambda t: float(_nll(said.at(t)).mean()), 0.05, 20.0)


def figures_at(said: Said, temperature: float, tasks: SharedSupport) -> dict[str, dict[str, dict[str, float]]]:
    """Figures, after a temperature, of the queries of both classes and of those of the owner, by part."""
    told = said.at(temperature)
    parts = tasks.parts(range(len(told.y)), told.y)
    return {where: _figures(told, asks) for where, asks in parts.items()}


def _classes(said: Said, temperature: float) -> dict[str, float]:
    every = torch.ones(said.y.shape[:2], dtype=torch.bool)
    found = {"temperature": temperature}
    for when, at in (("before", 1.0), ("after", temperature)):
        figures = _figures(said.at(at), every)
        found |= {"accuracy": figures["accuracy"]["mean"]}
        found |= {f"{what} {when}": figures[what]["mean"] for what in ("ece", "nll")}
        found |= {f"ece {when}, {end}": figures["ece"][end] for end in ("low", "high")}
    return found


def _figures(said: Said, asks: torch.Tensor) -> dict[str, dict[str, float]]:
    """Means over the queries marked in `asks`, [t, n]: each task has as many. Intervals of 95 % over tasks."""
    said = Said(*(each[asks].unflatten(0, (len(asks), -1)) for each in said))
    claimed = said.log_p.exp().amax(-1)
    right = (said.log_p.argmax(-1) == said.y.to(torch.int8).argmax(-1)).to(claimed.dtype)
    each = {"nll": _nll(said), "most likely": claimed, "accuracy": right}
    found = {what: t_interval(values.mean(1).double().numpy())._asdict() for what, values in each.items()}
    return found | {"ece": expected_error(claimed.double().numpy(), right.double().numpy())}


def _nll(said: Said) -> torch.Tensor:
    return -torch.where(said.y, said.log_p, 0.0).sum(-1)


def expected_error(claimed: Array, right: Array) -> dict[str, float]:
    """The expected calibration error of probabilities [t, n] in 15 bins of equal width, over all queries together.

    Its interval is the middle 95 % of what resampled tasks give. Their noise adds to a sum of distances, so that for
    errors near 0 it lies high.
    """
    place = np.clip(np.ceil(claimed * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.stack([np.where(place == i, right - claimed, 0.0).sum(1) for i in range(BINS)], 1)
    tasks = len(gaps)
    drawn = chance.words(chance.key("calibration", tasks), range(DRAWS), tasks) * np.uint64(tasks) >> np.uint64(32)
    times = np.stack([np.bincount(row.astype(np.int64), minlength=tasks) for row in drawn])
    low, high = np.quantile(np.abs(times @ gaps).sum(1) / claimed.size, [0.025, 0.975])
    return {"mean": float(np.abs(gaps.sum(0)).sum() / claimed.size), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
