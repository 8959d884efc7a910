"""Who knows what it does not know: tasks that five points do not settle between a sine and a line.

    python benchmarks/claims/ambiguity.py

trains MAML, ABML, PLATIPUS, Bayesian MAML (by its chaser loss, and by the likelihood of what its particles say
together), deep kernel transfer and a transformer neural process on tasks that are half sines, half lines, with five
noisy points in a window of width 2 out of 10 (tasks "ambiguous"), for as many steps each. All but the transformer have
the same net, and all see the same tasks. A prediction's deviations are then multiplied by one number a method, fitted
on validation tasks: nobody is blamed for a scale. On test tasks are measured, for queries in the support's window and
elsewhere: the fraction of values inside the central 95 % interval, its width, the NLL of a value, how much lower or
higher that is than MAML's on the same task, the squared error of the mean, and that of the best member of each task (a
mixture has several, others one). "together" is the NLL of all values of a task elsewhere at once, a value, after a
number of its own: a member is right about all of them or none, which tells who holds both kinds of function from who
says something between of every value. "exact" is the posterior over the family itself, by quadrature: no method can
have a lower NLL on average.

Runs go on where they stopped: with `--minutes-each 1` every call adds at most so much to each that is not done. What
few-shot classifiers know of themselves is in `calibration.py`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from budgeted import Budgeted, table, written
from numpy.typing import NDArray

from quickstudy.core import tree
from quickstudy.core.episode import Episode
from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import over_tasks
from quickstudy.core.predictions import Gaussian, Mixture
from quickstudy.core.settings import load
from quickstudy.evaluate.evaluate import noise_for
from quickstudy.evaluate.statistics import t_interval
from quickstudy.evaluate.temperature import cheapest
from quickstudy.tasks.ambiguous import Ambiguous, AmbiguousSource
from quickstudy.tasks.source import TaskSource
from quickstudy.train.run import RunSettings
from quickstudy.train.settings import Training

STEP = {"name": "sgd", "rate": 0.01}
METHODS: dict[str, dict[str, Any]] = {
    "MAML": {"name": "maml", "rule": STEP},
    "ABML": {"name": "abml", "rule": STEP, "samples": 20},
    "PLATIPUS": {"name": "platipus", "rule": STEP, "samples": 20},
    "BMAML": {"name": "bmaml", "particles": 5, "rate": 0.01},
    "BMAML, by its mixture": {"name": "bmaml", "particles": 5, "rate": 0.01, "loss": "query"},
    "DKT": {"name": "dkt", "kernel": "spectral"},
    "TNP": {"name": "tnp", "floor": 0.0},
}
RATES = {"BMAML": 1e-3, "BMAML, by its mixture": 1e-3, "TNP": 5e-4}
"""Of the outer steps, where 3e-3 is too much."""
BATCH = 50
GRID = 32
"""Values of each of a function's two numbers in the quadrature."""

Array = NDArray[np.float64]
Figures = dict[str, Array]


def main() -> None:
    """Train what is left to train, then evaluate and print."""
    torch.set_num_threads(1)
    asked = _asked()
    runs = Budgeted(asked.runs, asked.minutes_each)
    done = [runs.train(f"{name}, {asked.steps}", _settings(name, asked)) for name in METHODS]
    if not all(done):
        print("Not all are trained yet: the same command goes on.")
        return
    written(asked.out, runs, {"values": _measured(runs, asked)})


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000, help="outer steps of 16 tasks")
    parser.add_argument("--minutes-each", type=float, default=None, help="stop each after so long, to go on later")
    parser.add_argument("--tasks", type=int, default=300, help="test tasks, and validation tasks")
    parser.add_argument("--runs", type=Path, default=Path("runs/ambiguity"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/records/claims/ambiguity.json"))
    return parser.parse_args()


def _settings(name: str, asked: argparse.Namespace) -> RunSettings:
    compiled = "never" if name == "DKT" else "always"
    rate = RATES.get(name, 3e-3)
    training = Training(
        steps=asked.steps, rate=rate, schedule="cosine", clip=10.0, how="map", chunk=16, compile=compiled
    )
    return RunSettings(method=load("method", METHODS[name]), tasks=Ambiguous(), training=training)


def _measured(runs: Budgeted, asked: argparse.Namespace) -> dict[str, Any]:
    val, test = (Ambiguous().source(split) for split in ("val", "test"))
    figures: dict[str, dict[str, Any]] = {}
    beside: Figures = {}
    for name in METHODS:
        method = runs.method(f"{name}, {asked.steps}")
        told = list(_asks(method, val, asked.tasks))
        scale = cheapest(lambda s, told=told: _nll(told, s), 0.05, 20.0)
        of_all = cheapest(lambda s, told=told: float(np.nanmean(_together(told, s))), 0.05, 20.0)
        found = _values(list(_asks(method, test, asked.tasks)), scale, of_all)
        beside = beside or found  # MAML is the first
        figures[name] = {"deviations times": scale, "together, times": of_all} | _told(found, beside)
    found = _values(list(_exact(test, asked.tasks)), 1.0, 1.0)
    figures["exact"] = {"deviations times": 1.0, "together, times": 1.0} | _told(found, beside)
    shown = [(where, what) for where in ("window", "elsewhere") for what in FIGURES] + [("elsewhere", TOGETHER)]
    columns = ["scaled", *(f"{what}, {where}" for where, what in shown)]
    rows = [
        [name, f"{each['deviations times']:.2f}", *(f"{each[where][what]['mean']:.3f}" for where, what in shown)]
        for name, each in figures.items()
    ]
    print(table(["", *columns], rows))
    return {"test tasks": asked.tasks, "test set": test.digest(range(asked.tasks)), "figures": figures}


FIGURES = ("coverage", "width", "nll", "error", "best member's error")
ABOVE = "nll minus MAML's"
TOGETHER = "together"

Answers = tuple[Episode, Gaussian | Mixture]
Asked = Iterable[Answers]


def _asks(method: MetaLearner, source: TaskSource, tasks: int) -> Asked:
    """What a method says of the queries of each batch of tasks, with a leading axis of them."""
    digest = source.digest(range(tasks))
    for start in range(0, tasks, BATCH):
        numbers = range(start, min(start + BATCH, tasks))
        episodes = source.batch(numbers)

        def say(episode: Episode, *noise: torch.Tensor) -> Gaussian | Mixture:
            return method.predict(method.adapt(episode.support, *noise), episode.query.x)

        with torch.no_grad():
            yield episodes, over_tasks(say, episodes, *noise_for(method, digest, numbers))


def _nll(asks: Asked, scale: float) -> float:
    each = [over_tasks(lambda said, y: said.tempered(scale).nll(y), said, part.query.y) for part, said in asks]
    return float(torch.cat(each).mean())


def _values(asks: list[Answers], scale: float, of_all: float) -> Figures:
    """Of each task, the mean of each figure over its queries in the window and over those elsewhere."""
    rows = []
    for episodes, said in asks:

        def figures(said: Gaussian | Mixture, episode: Episode) -> torch.Tensor:
            said, y = said.tempered(scale), episode.query.y
            low, high = said.quantile(0.025), said.quantile(0.975)
            inside = ((low <= y) & (y <= high)).to(y.dtype)[:, 0]
            each = torch.stack([inside, (high - low)[:, 0], said.nll(y), said.score(y)])
            near = _near(episode)
            weights = torch.stack([near, 1 - near])
            means = each @ (weights / weights.sum(1, keepdim=True)).T
            return torch.cat([means, _best(said, y, weights)[None]])

        with torch.no_grad():
            rows.append(over_tasks(figures, said, episodes, chunk=5).double().numpy())
    found = np.concatenate(rows)
    return {
        f"{where}/{name}": found[:, i, at]
        for at, where in enumerate(("window", "elsewhere"))
        for i, name in enumerate(FIGURES)
    } | {f"elsewhere/{TOGETHER}": _together(asks, of_all)}


def _near(episode: Episode) -> torch.Tensor:
    """1 for queries in the window of the support, 0 for those elsewhere, [n]."""
    near = (episode.query.x - episode.support.x.mean()).abs() <= 1.0
    return near[:, 0].to(episode.query.x.dtype)


def _together(asks: Asked, scale: float) -> Array:
    """The NLL of all values of a task elsewhere at once, by their number; NaN where there is none."""

    def nll(said: Gaussian | Mixture, episode: Episode) -> torch.Tensor:
        said, y, away = said.tempered(scale), episode.query.y, 1 - _near(episode)
        parts = said if isinstance(said, Mixture) else Mixture(tree.stack([said]), y.new_zeros(1))
        each = torch.func.vmap(lambda part: part.nll(y))(parts.parts) @ away
        return -torch.logsumexp(parts.log_weight.log_softmax(0) - each, 0) / away.sum()

    with torch.no_grad():
        found = [over_tasks(nll, said, episodes, chunk=5) for episodes, said in asks]
    return torch.cat(found).double().numpy()


def _best(said: Gaussian | Mixture, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The squared error of the member that is best over a task's queries; that of the mean where there is but one."""
    means = said.parts.mean if isinstance(said, Mixture) else said.mean[None]
    if len(means) > 2 * GRID**2 - 1:  # the exact posterior has all functions for members
        return weights.sum(1) * math.nan
    each = (means - y).square()[..., 0]
    best = torch.nn.functional.one_hot(each.mean(1).argmin(), len(each)).to(each.dtype) @ each
    return (weights * best).sum(1) / weights.sum(1)


def _told(values: Figures, beside: Figures) -> dict[str, Any]:
    """Means over tasks, with 95 % intervals; a task without a query there does not count.

    So of the NLL minus that `beside`, task by task.
    """
    found: dict[str, Any] = {"window": {}, "elsewhere": {}}
    apart = {f"{where}/{ABOVE}": values[f"{where}/nll"] - beside[f"{where}/nll"] for where in found}
    of_all = f"elsewhere/{TOGETHER}"
    apart[f"{of_all} minus MAML's"] = values[of_all] - beside[of_all]
    for key, each in (values | apart).items():
        where, name = key.split("/")
        known = each[np.isfinite(each)]
        mean = t_interval(known)._asdict() if len(known) else {"mean": math.nan}
        found[where][name] = mean
    return found


def _exact(source: AmbiguousSource, tasks: int) -> Asked:
    """The posterior over the family's functions, on a grid of their numbers."""
    middle = (np.arange(GRID) + 0.5) / GRID
    u, v = (each.reshape(-1, 1) for each in np.meshgrid(middle, middle))
    noise = source.family.noise

    def functions(x: torch.Tensor) -> torch.Tensor:
        at = x[:, 0].double()
        amplitude, phase, a, b = (torch.from_numpy(each) for each in (0.1 + 4.9 * u, math.pi * v, 6 * u - 3, 6 * v - 3))
        return torch.cat([amplitude * torch.sin(at - phase), a * at + b])

    for start in range(0, tasks, BATCH):
        episodes = source.batch(range(start, min(start + BATCH, tasks)))

        def say(episode: Episode) -> Mixture:
            seen, y = functions(episode.support.x), episode.support.y[:, 0].double()
            log_weight = -0.5 * ((seen - y) / noise).square().sum(1)
            mean = functions(episode.query.x)[..., None]
            mean, log_weight = mean.float(), log_weight.float()
            return Mixture(Gaussian(mean, torch.full_like(mean, noise)), log_weight)

        yield episodes, over_tasks(say, episodes)


if __name__ == "__main__":
    main()
