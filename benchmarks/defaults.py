"""Does every method train with its defaults? Its score on validation tasks before and after a few hundred steps.

    python benchmarks/defaults.py sines
    python benchmarks/defaults.py omniglot --steps 1000 --minutes 1 --validation 100

Each method and each named variant is what `quickstudy train NAME --tasks TASKS` trains, with no other flag but the
number of steps and, if it is to end sooner, of minutes; those that begin with a trained net begin with RFS's, trained
as long. A method "learns" where the interval of what training gained, task by task, lies above 0. Figures are kept in
benchmarks/results/defaults-TASKS.json; methods that were measured before are measured again only where they are named.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from harness.results import FOLDER, machine

from quickstudy import registry
from quickstudy.cli import recipe
from quickstudy.cli.session import with_net
from quickstudy.core.learner import MetaLearner, tags_of
from quickstudy.core.settings import load
from quickstudy.errors import QuickstudyError
from quickstudy.evaluate import answer
from quickstudy.evaluate.statistics import t_interval
from quickstudy.train.loop import fit
from quickstudy.train.run import RunSettings, build_method, pool_source, training_source
from quickstudy.train.state import TrainState


def main() -> None:
    """Measure what is asked for, print it and keep it."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", choices=["sines", "omniglot", "cifar_fs"])
    parser.add_argument("--steps", type=int, default=300, help="outer steps at most")
    parser.add_argument("--minutes", type=float, default=None, help="of training at most")
    parser.add_argument("--validation", type=int, default=200, help="tasks asked before and after")
    parser.add_argument("--only", nargs="+", default=None, metavar="METHOD", help="by default all not measured yet")
    asked = parser.parse_args()
    path = FOLDER / f"defaults-{asked.tasks}.json"
    kind = "regression" if asked.tasks == "sines" else "classification"
    kept = json.loads(path.read_text()) if path.exists() else {"validation tasks": asked.validation, "rows": {}}
    if kept["validation tasks"] != asked.validation:
        parser.error(f"rows of {path.name} were asked {kept['validation tasks']} validation tasks: ask as many.")
    rows = kept["rows"]
    names = [n for n in (*registry.METHODS, *registry.VARIANTS) if getattr(tags_of(load("method", n)), kind)]
    for name in asked.only or [name for name in names if name not in rows]:
        rows[name] = measured(name, asked.tasks, {"steps": asked.steps, "minutes": asked.minutes}, asked.validation)
        print(f"{name:18}" + "  ".join(f"{key} {value}" for key, value in rows[name].items()), flush=True)
        facts = {"part": f"defaults-{asked.tasks}", "machine": machine(), "validation tasks": asked.validation}
        whole = facts | {"rows": {name: rows[name] for name in names if name in rows}}
        path.write_text(json.dumps(whole, indent=1) + "\n")


def measured(name: str, tasks: str, length: dict[str, Any], validation: int) -> dict[str, Any]:
    """What the defaults of a method make of a training of that length."""
    try:
        run = with_defaults(name, tasks, length)
        method = begun(run, tasks, length)
        asked = run.tasks.source("val")
        before = answer(method, asked, episodes=validation).values
        state = trained(run, method)
        after = answer(method, asked, episodes=validation).values
    except QuickstudyError as error:
        return {"steps": length["steps"], "learns": False, "reason": str(error)}
    gain = after - before if tasks != "sines" else before - after
    mean, low, high = t_interval(gain)
    found = {"before": before.mean(), "after": after.mean(), "gain": mean, "low": low, "high": high}
    found |= {"seconds": state.seconds}
    return {"steps": state.number, "learns": low > 0} | {key: float(f"{value:.4g}") for key, value in found.items()}


def with_defaults(name: str, tasks: str, length: dict[str, Any]) -> RunSettings:
    """What `quickstudy train NAME --tasks TASKS` trains, for that long."""
    return with_net(recipe.checked({"method": {"name": name}, "tasks": {"name": tasks}, **length}).run)


def begun(run: RunSettings, tasks: str, length: dict[str, Any]) -> MetaLearner:
    """The method as its training begins: from RFS's net, trained as long, if it needs one."""
    method = build_method(run)
    if method.needs_start:
        pretrained = with_defaults("rfs", tasks, length)
        method.start_from(trained(pretrained, build_method(pretrained)).method)
    return method


def trained(run: RunSettings, method: MetaLearner) -> TrainState:
    """Where its training ends."""
    state, pool = TrainState(method, run.training), pool_source(run, method)
    for _ in fit(method, training_source(run), state=state, pool=pool):
        pass
    return state


if __name__ == "__main__":
    main()
