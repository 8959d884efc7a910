"""What the claims about memory share: what is said along a sequence, intervals, results."""

from __future__ import annotations

import json
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
from quickstudy.train.run import Run, RunSettings

__all__ = ["Values", "along", "batches", "interval", "settings", "write"]

BATCH = 64

Values = NDArray[np.float64]


def settings(method: dict[str, Any], tasks: Any, training: Any, net: Any = None) -> RunSettings:
    """Of a run, by the method's name and settings."""
    return RunSettings(method=load("method", method), tasks=tasks, net=net, training=training)


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
        trained[name]["settings"] = _portable(run.settings.plain())
    whole = {"quickstudy": quickstudy.__version__, "torch": str(torch.__version__), "trained": trained} | found
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(whole), indent=1) + "\n")
    print(f"-> {path}")


def _portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without the folder that a machine keeps its features in."""
    tasks = settings["tasks"]
    return settings | {"tasks": tasks | {"path": Path(tasks["path"]).name}} if "path" in tasks else settings


def _rounded(value: Any) -> Any:
    """Five significant digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value
