"""Runs that go on where they stopped, for claims that are measured within a budget of minutes."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch

import quickstudy
from quickstudy.core.learner import MetaLearner
from quickstudy.tasks.source import TaskSource
from quickstudy.train.loop import fit
from quickstudy.train.run import Run, RunSettings, training_source

__all__ = ["Budgeted", "run_in", "table", "train", "written"]

SAVE_EVERY = 500


def run_in(folder: Path, chosen: RunSettings) -> Run:
    """The run in a folder, made there if there is none.

    Raises:
        SystemExit: there is one with other settings, of which no figure may be recorded as of these.
    """
    if not (folder / "run.yaml").exists():
        return Run.create(folder, chosen)
    run = Run.open(folder)
    if run.settings.plain() != chosen.plain():
        raise SystemExit(f"{folder} holds a run with other settings: remove it, or choose another folder with --runs.")
    return run


def train(name: str, run: Run, minutes: float | None = None, source: TaskSource | None = None) -> bool:
    """Go on with a run, at most for so long, on its own tasks or on those of a source; whether it is at its end."""
    state, _ = run.resume()
    start, losses = time.perf_counter(), []
    if state.over:
        return True
    for step in fit(state.method, source or training_source(run.settings), state=state):
        losses.append(step.loss)
        late = minutes is not None and time.perf_counter() - start > 60 * minutes
        if state.number % SAVE_EVERY == 0 or state.over or late:
            run.save(state)
            mean = sum(losses) / len(losses)
            print(f"{name:24} step {state.number:6}  loss {mean:8.4f}  {state.seconds:6.0f} s", flush=True)
            losses = []
        if late:
            break
    return state.over


class Budgeted:
    """Runs by name under one folder, each trained at most so many minutes a call."""

    def __init__(self, folder: Path, minutes: float | None) -> None:
        self.folder, self.minutes = folder, minutes
        self.runs: dict[str, Run] = {}

    def train(self, name: str, chosen: RunSettings, source: TaskSource | None = None) -> bool:
        """Begin a run, or go on with it, on its own tasks or on those of a source; whether it is at its end."""
        self.runs[name] = run_in(self.folder / name.lower().replace(", ", "-").replace(" ", "-"), chosen)
        return train(name, self.runs[name], self.minutes, source)

    def method(self, name: str) -> MetaLearner:
        """What was trained, to be asked."""
        return self.runs[name].method()[0].eval()

    def facts(self) -> dict[str, Any]:
        """What was trained, for how long."""
        found = {}
        for name, run in self.runs.items():
            method, kept = run.method()
            numbers = sum(weight.numel() for weight in method.parameters())
            found[name] = {"steps": kept["number"], "seconds": round(kept["seconds"], 1), "weights": numbers}
            found[name]["settings"] = run.settings.plain()
        return found


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Columns of text."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [headings, *rows]
    )


def written(path: Path, runs: Budgeted, found: dict[str, Any]) -> None:
    """Results as JSON, beside what they depend on."""
    whole = {"quickstudy": quickstudy.__version__, "torch": str(torch.__version__), "trained": runs.facts()} | found
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(whole), indent=1) + "\n")
    print(f"-> {path}")


def _rounded(value: Any) -> Any:
    """Five significant digits; what is not finite is null, so that it is JSON everywhere."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value
