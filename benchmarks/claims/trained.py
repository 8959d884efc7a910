"""What the claims about memory share: runs that go on where they stopped, what is said along a sequence, results."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import quickstudy
from quickstudy.core.episode import Episode, to_device
from quickstudy.core.lift import over_tasks
from quickstudy.core.settings import load
from quickstudy.evaluate.evaluate import noise_for
from quickstudy.evaluate.statistics import t_interval
from quickstudy.methods.memory.sequence import SequenceLearner
from quickstudy.tasks.source import TaskSource
from quickstudy.train.loop import fit
from quickstudy.train.run import Run, RunSettings, training_source

__all__ = ["Values", "along", "batches", "interval", "run_in", "settings", "train", "write"]

BATCH, SAVE_EVERY = 64, 500

Values = NDArray[np.float64]


def settings(method: dict[str, Any], tasks: Any, training: Any, net: Any = None) -> RunSettings:
    """Of a run, by the method's name and settings."""
    return RunSettings(method=load("method", method), tasks=tasks, net=net, training=training)


def run_in(folder: Path, chosen: RunSettings) -> Run:
    """The run in a folder, made there if there is none."""
    return Run.open(folder) if (folder / "run.yaml").exists() else Run.create(folder, chosen)


def train(name: str, run: Run, minutes: float | None = None) -> bool:
    """Go on with a run, at most for so long; whether it is at its end."""
    state, _ = run.resume()
    start, losses = time.perf_counter(), []
    if state.over:
        return True
    for step in fit(state.method, training_source(run.settings), state=state):
        losses.append(step.loss)
        late = minutes is not None and time.perf_counter() - start > 60 * minutes
        if state.number % SAVE_EVERY == 0 or state.over or late:
            run.save(state)
            print(f"{name:16} step {state.number:6}  loss {np.mean(losses):7.4f}  {state.seconds:6.0f} s", flush=True)
            losses = []
        if late:
            break
    return state.over


def batches(source: TaskSource, tasks: int) -> Iterator[tuple[range, Episode]]:
    """Test episodes, a batch at a time."""
    for start in range(0, tasks, BATCH):
        numbers = range(start, min(start + BATCH, tasks))
        yield numbers, to_device(source.batch(numbers), "cpu")


def along(method: SequenceLearner, source: TaskSource, tasks: int) -> tuple[Values, NDArray[np.bool_]]:
    """The score of what is said at each position of each task, [tasks, n], and the labels in that order."""
    scores, labels, digest = [], [], source.digest(range(tasks))

    def one(episode: Episode, *noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        said, whole = method.along(episode, *noise)
        return said.score(whole.y), whole.y

    for numbers, episodes in batches(source, tasks):
        with torch.no_grad():
            score, y = over_tasks(one, episodes, *noise_for(method, digest, numbers))
        scores.append(score.double().numpy())
        labels.append(y.numpy())
    return np.concatenate(scores), np.concatenate(labels)


def interval(values: Values) -> dict[str, float]:
    """Mean and 95% interval over tasks."""
    found: dict[str, float] = t_interval(values)._asdict()
    return found


def write(path: Path, runs: dict[str, Run], found: dict[str, Any]) -> None:
    """Results, beside what they depend on."""
    trained: dict[str, Any] = {}
    for name, run in runs.items():
        method, kept = run.method()
        numbers = sum(weight.numel() for weight in method.parameters())
        trained[name] = {"steps": kept["number"], "seconds": round(kept["seconds"], 1), "weights": numbers}
        trained[name]["settings"] = run.settings.plain()
    whole = {"quickstudy": quickstudy.__version__, "torch": str(torch.__version__), "trained": trained} | found
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(whole), indent=1) + "\n")
    print(f"-> {path}")


def _rounded(value: Any) -> Any:
    """Five significant digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value
