"""Neural processes on functions of a Gaussian process: who finds unseen points likelier, and where that ends.

    python benchmarks/claims/neural_processes.py --steps 1500 --out docs/records/claims/neural-processes.json

trains CNP, NP, ANP, ConvCNP and TNP on the same tasks (the 1-D protocol of Nguyen and Grover 2022: kernel rbf, up to 49
points, 16 tasks a step), for as many steps each, and evaluates all of them on the same test tasks: with the kernel they
were trained on, on an interval beside the one they were trained on, and with two other kernels. What is measured is the
log-likelihood of a query point, averaged over each task's points and then over tasks. "exact GP" knows the parameters
that each task was drawn with and conditions on its support in closed form: no method can do better on average.

Runs are resumed: with `--minutes-each 5` every call goes on for so long with each of them that is not done. The table
is printed, and written as JSON, whenever all are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from budgeted import run_in, train
from numpy.typing import NDArray

import quickstudy
from quickstudy.core import tree
from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import over_tasks, plan
from quickstudy.core.settings import load
from quickstudy.evaluate.evaluate import noise_for
from quickstudy.evaluate.statistics import sign_flip, t_interval
from quickstudy.tasks.gp import GP, GPSource, Parameters, covariance
from quickstudy.train.run import Run, RunSettings
from quickstudy.train.settings import Training

BATCH, RATE = 16, 5e-4

METHODS: dict[str, dict[str, Any]] = {
    "cnp": {},
    "np": {"path": "mean"},
    "anp": {},
    "convcnp": {"span": 8.0},
    "tnp": {},
}
WHERE: dict[str, dict[str, Any]] = {
    "rbf": {},
    "rbf, x + 4": {"interval": (2.0, 6.0)},
    "matern": {"kernel": "matern"},
    "periodic": {"kernel": "periodic"},
}
PUBLISHED = {"cnp": 0.26, "np": 0.27, "anp": 0.81, "tnp": 1.39}
"""Log-likelihoods on rbf after 100,000 steps as Nguyen and Grover (2022, table 1) have them. Their NP and ANP were
trained by the mean of four importance weights and evaluated with 50 codes; here by the bound with one, and with 16."""
CLAIMS = [
    ("attention helps: ANP above CNP", "rbf", "anp", "cnp"),
    ("a transformer helps more: TNP above ANP", "rbf", "tnp", "anp"),
    ("ConvCNP above TNP beside the training interval", "rbf, x + 4", "convcnp", "tnp"),
    ("TNP above CNP with another kernel, matern", "matern", "tnp", "cnp"),
]

Values = NDArray[np.float64]


def main() -> None:
    """Train what is left to train, then evaluate and print."""
    torch.set_num_threads(1)
    asked = _asked()
    runs = {name: _run(name, asked) for name in asked.methods}
    done = [train(name, run, asked.minutes_each) for name, run in runs.items()]
    if not all(done):
        print("Not all are trained yet: the same command goes on.")
        return
    results = _results(runs, asked)
    print(_table(results))
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(results, indent=1) + "\n")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500, help="outer steps of each; published: 100000")
    parser.add_argument("--minutes-each", type=float, default=None, help="stop each after so long, to go on later")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--tasks", type=int, default=3008, help="test tasks; published: 48000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/neural-processes"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=None, help="where the results go, as JSON")
    return parser.parse_args()


# --- training ---------------------------------------------------------------------------------------------------------


def _run(name: str, asked: argparse.Namespace) -> Run:
    settings = RunSettings(
        method=load("method", {"name": name, **METHODS[name]}),
        tasks=GP(),
        training=Training(
            steps=asked.steps, batch=BATCH, rate=RATE, schedule="cosine", seed=asked.seed, how="map", chunk=BATCH
        ),
    )
    return run_in(asked.runs / f"{name}-{asked.steps}-{asked.seed}", settings)


# --- evaluation -------------------------------------------------------------------------------------------------------


def _results(runs: dict[str, Run], asked: argparse.Namespace) -> dict[str, Any]:
    sources = {where: GP(same_shape=BATCH, **changes).source("test") for where, changes in WHERE.items()}
    values: dict[str, dict[str, dict[str, Values]]] = {where: {} for where in WHERE}
    training = {}
    for name, run in runs.items():
        method, kept = run.method()
        method.eval()
        numbers = sum(weight.numel() for weight in method.parameters())
        training[name] = {"steps": kept["number"], "seconds": kept["seconds"], "weights": numbers}
        for where, source in sources.items():
            values[where][name] = _figures(method, source, asked.tasks)
            print(f"{name:8} {where:10} {values[where][name]['log p'].mean():7.3f}", flush=True)
    for where, source in sources.items():
        values[where]["exact GP"] = {"log p": _exact(source, asked.tasks)}
    return {
        "quickstudy": quickstudy.__version__,
        "torch": str(torch.__version__),
        "batch": BATCH,
        "rate": RATE,
        "settings": {name: run.settings.plain()["method"] for name, run in runs.items()},
        "training": training,
        "test tasks": asked.tasks,
        "test sets": {where: source.digest(range(asked.tasks)) for where, source in sources.items()},
        "published on rbf": PUBLISHED,
        "figures": {
            where: {
                name: {figure: t_interval(each)._asdict() for figure, each in figures.items()}
                for name, figures in by_method.items()
            }
            for where, by_method in values.items()
        },
        "claims": [_claim(*claim, values) for claim in CLAIMS if {*claim[2:]} <= runs.keys()],
    }


def _figures(method: MetaLearner, source: GPSource, tasks: int) -> dict[str, Values]:
    """Of each task: the mean log-likelihoods of its query and of its support, and the query's mean squared error."""
    found = []

    def answer(support: Any, query: Any, *noise: Any) -> Any:
        learner = method.adapt(support, *noise)
        said = method.predict(learner, query.x)
        again = method.predict(learner, support.x)
        figures = -said.nll(query.y).mean(), -again.nll(support.y).mean(), said.score(query.y).mean()
        return torch.stack(figures)

    digest = source.digest(range(tasks))
    for start in range(0, tasks, BATCH):
        numbers = range(start, start + BATCH)
        episodes = source.batch(numbers)
        noise = noise_for(method, digest, numbers)
        with torch.no_grad():
            how, chunk = plan(method, episodes, *noise)
            found.append(over_tasks(answer, *episodes, *noise, how=how, chunk=chunk).double().numpy())
    each = np.concatenate(found)
    return dict(zip(("log p", "log p of support", "squared error"), each.T, strict=True))


def _exact(source: GPSource, tasks: int) -> Values:
    """The mean log-likelihood of each task's query points under the exact posterior at each of them."""
    found = []
    for start in range(0, tasks, BATCH):
        numbers = range(start, start + BATCH)
        episodes, parameters = source.batch(numbers), source.parameters(numbers)
        for i in range(BATCH):
            support, query = (tree.map_leaves(lambda leaf, i=i: leaf[i].double().numpy(), part) for part in episodes)
            found.append(
                _of_exact(source.family, Parameters(*(each[i : i + 1] for each in parameters)), support, query)
            )
    return np.array(found)


def _of_exact(family: GP, parameters: Parameters, support: Any, query: Any) -> float:
    n = len(support.x)
    x = np.concatenate([support.x, query.x])[None, :, 0]
    cov = covariance(family.kernel, parameters, x)[0] + family.noise**2 * np.eye(x.shape[1])
    weights = np.linalg.solve(cov[:n, :n], cov[:n, n:])
    mean, variance = weights.T @ support.y[:, 0], np.diag(cov)[n:] - (weights * cov[:n, n:]).sum(0)
    apart = (query.y[:, 0] - mean) ** 2 / variance
    return float(np.mean(-0.5 * (apart + np.log(2 * np.pi * variance))))


def _claim(text: str, where: str, above: str, below: str, values: Any) -> dict[str, Any]:
    apart = values[where][above]["log p"] - values[where][below]["log p"]
    gain = t_interval(apart)
    return {"claim": text, "gain": gain._asdict(), "p": sign_flip(apart), "holds": gain.low > 0}


# --- printing ---------------------------------------------------------------------------------------------------------


def _table(results: dict[str, Any]) -> str:
    figures = results["figures"]
    names = list(figures["rbf"])
    lines = ["", f"log-likelihood of a query point, {results['test tasks']} test tasks, ± half of the 95% interval", ""]
    lines.append(
        f"{'':10}" + "".join(f"{where:>17}" for where in figures) + f"{'support':>10}{'paper':>8}{'minutes':>9}"
    )
    for name in names:
        line = f"{name:10}"
        for by_method in figures.values():
            of = by_method[name]["log p"]
            line += f"{of['mean']:9.3f} ± {(of['high'] - of['low']) / 2:5.3f}"
        if name in results["training"]:
            line += f"{figures['rbf'][name]['log p of support']['mean']:10.3f}"
            line += f"{PUBLISHED.get(name, float('nan')):8.2f}{results['training'][name]['seconds'] / 60:9.1f}"
        lines.append(line)
    steps = {each["steps"] for each in results["training"].values()}
    lines += ["", f"steps of {BATCH} tasks: {', '.join(map(str, sorted(steps)))}; the paper's figures: rbf, 100000", ""]
    for claim in results["claims"]:
        gain = claim["gain"]
        verdict = "holds" if claim["holds"] else "DOES NOT HOLD"
        lines.append(f"{claim['claim']:58} {gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]  {verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
