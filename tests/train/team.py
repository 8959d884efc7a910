"""What workers started by torchrun do for test_workers: `team.py FOLDER` writes what they found into the folder."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.cli import main, screen, session
from quickstudy.core.episode import Episode
from quickstudy.core.settings import settings
from quickstudy.core.workers import Workers, join
from quickstudy.errors import DataError
from quickstudy.evaluate import answer
from quickstudy.methods.metric.protonet import ProtoNet
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines, SineSource
from quickstudy.tasks.source import Indices, Split
from quickstudy.train import checkpoint
from quickstudy.train.loop import fit
from quickstudy.train.run import RunSettings, build_method, pool_source, training_source
from quickstudy.train.state import TrainState
from quickstudy.train.sums import Sums
from train.runs import Dots, sine_run

BATCH = 5
"""Not divisible by two workers."""
STEPS = 12
GIVEN = {
    "method": {"name": "maml", "steps": 1, "rule": {"name": "sgd", "rate": 0.01}},
    "tasks": {"name": "train.team:Wild"},
    "net": {"name": "mlp", "hidden": [8]},
    "batch": BATCH,
    "steps": STEPS,
    "compile": "never",
    "validate_every": 5,
    "validation_episodes": 70,
    "save_every": 3,
}


@settings
class Wild(Sines):
    """Sine waves among which things happen: each once, where FATE says `what@episode` and no file notes it yet."""

    def source(self, split: Split = "train", seed: int = 0) -> SineSource:
        return WildSource(self, split, seed, waves=None)


class WildSource(SineSource):
    def batch(self, indices: Indices) -> Episode:
        for each in os.environ.get("FATE", "").split() if self.split == "train" else ():
            what, episode = each.split("@")
            if int(episode) in indices and not Path(each).exists():
                Path(each).touch()
                happen(what)
        return super().batch(indices)


def happen(what: str) -> None:
    if what == "fail":
        raise DataError("one worker found a broken file.")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "end":
        os.kill(os.getppid(), signal.SIGTERM)  # torchrun, which tells its workers


def method_and_state(**training: Any) -> tuple[RunSettings, TrainState]:
    run = sine_run(batch=BATCH, steps=STEPS, compile="never", **training)
    return run, TrainState(build_method(run), run.training)


def curve(run: RunSettings, state: TrainState, workers: Workers, until: int = STEPS) -> list[list[float]]:
    """Loss, length of the gradient and rate of each step up to one."""
    found = []
    for step in fit(state.method, training_source(run), state=state, workers=workers):
        found.append([step.loss, step.grad_norm, step.rate])
        if step.number == until:
            break
    return found


def two_signals(workers: Workers) -> list[list[float]]:
    """The curve of a method that takes flat batches, which one worker alone can take, beside its episodes."""
    training = {"steps": 8, "batch": 3, "compile": "never"}
    net, tasks = {"name": "mlp", "hidden": [6]}, {"name": "train.runs:Dots", "ways": 4, "queries": 3}
    run = RunSettings.read({"method": "tadam", "net": net, "tasks": tasks, "training": training})
    state = TrainState(build_method(run), run.training)
    pool = pool_source(run, state.method)
    steps = fit(state.method, training_source(run), state=state, workers=workers, pool=pool)
    return [[step.loss, step.grad_norm, float(step.flat)] for step in steps]


def asked(workers: Workers) -> dict[str, Any]:
    """Answers to 20 episodes of varying ways, in batches of 6: workers have unequal parts of unequal shapes."""
    torch.manual_seed(0)
    source = Dots(ways=(2, 4), shots=(1, 3), queries=4, same_shape=3).source("test")
    said = answer(ProtoNet(MLP((2,), hidden=(8,))), source, episodes=20, batch=6, workers=workers)
    names = ("values", "classes", "score", "nll", "confidence", "brier")
    return {name: getattr(said, name).tolist() for name in names}


def added_up(workers: Workers) -> list[Any]:
    """Gradients that only some workers have, added up."""
    weights = [torch.zeros(2, 3), torch.zeros(4, dtype=torch.float64), torch.zeros(1)]
    weights[0].grad = torch.full((2, 3), 1.0 + workers.rank)
    if not workers.first:
        weights[1].grad = torch.arange(4.0, dtype=torch.float64)
    sums = Sums(weights, torch.device("cpu"))
    sums.add(torch.tensor(10.0**workers.rank))
    total = sums.leave(workers)
    return [total.item(), *(None if weight.grad is None else weight.grad.flatten().tolist() for weight in weights)]


def work(folder: Path) -> dict[str, Any]:
    workers = join()
    found: dict[str, Any] = {"sums": added_up(workers), "answers": asked(workers)}
    given = workers.gather({"a": np.arange(workers.rank), "b": np.full((2, 2), workers.rank, bool)})
    found["gathered"] = [[each["a"].tolist(), each["b"].tolist()] for each in given]
    run, state = method_and_state()
    found["curve"] = curve(run, state, workers, until=6)
    if workers.first:
        checkpoint.write(folder, "step-00000006", state.tensors(), state.scalars())
    found["curve"] += curve(run, state, workers)
    found["weights"] = [weight.tolist() for weight in state.method.parameters()]
    run, state = method_and_state()
    saved = checkpoint.read(folder / "alone", "step-00000006")
    state.restore(saved.tensors, saved.scalars)
    found["went on"] = curve(run, state, workers)
    found["two signals"] = two_signals(workers)
    run, state = method_and_state(minutes=0.0005, schedule="cosine")
    found["timed"] = [curve(run, state, workers), state.seconds]
    return found


if __name__ == "__main__":
    base = Path(sys.argv[1])
    os.chdir(base)
    result = work(base)
    Path(f"found-{os.environ['RANK']}.json").write_text(json.dumps(result))
    screen.muted = os.environ["RANK"] != "0"  # as `main` has it
    code = session.start(GIVEN, Path("whole"), quiet=True)
    os.environ["FATE"] = "fail@8"  # the second worker's, in the second step
    line = "train maml --tasks train.team:Wild --method.rule.rate 0.01 --batch 5 --compile never --out broken"
    sys.exit(code or main(line.split()))
