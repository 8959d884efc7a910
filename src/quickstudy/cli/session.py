"""Carrying out a training run: validation, checkpoints, signals and progress around `fit`."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from quickstudy import registry
from quickstudy.cli import recipe, screen
from quickstudy.cli.flags import overlay
from quickstudy.core import files
from quickstudy.core.learner import Stepwise, tags_of
from quickstudy.core.predictions import Metric
from quickstudy.core.settings import load, owner_of
from quickstudy.core.workers import Workers, torchrun
from quickstudy.errors import CheckpointError, QuickstudyError, SettingsError
from quickstudy.evaluate import Protocol, evaluate, findings
from quickstudy.train.loop import Step, fit
from quickstudy.train.run import Run, RunSettings, begun, pool_source, training_source, usual_net
from quickstudy.train.state import TrainState

__all__ = ["Session", "free_folder", "resume", "start", "with_net"]

SAVE_SECONDS = 60.0
LOGGED = 2000
"""At most about this many steps of a run are written to train.jsonl."""


def start(given: Mapping[str, Any], out: Path | None, *, quiet: bool = False, next_step: bool = True) -> int:
    """Train a new run.

    Args:
        given: Nested settings, from the command line and a file.
        out: Its folder; None names one after the method and the tasks.
        quiet: Show no progress.
        next_step: Say what to do with a trained run.

    Returns:
        The exit code.
    """
    asked = recipe.checked(given)
    settings = with_net(asked.run)
    if torchrun():  # which starts a job again that failed: then its run goes on
        return _start_among_workers(settings, asked.watch, out, quiet=quiet, next_step=next_step)
    method = begun(settings)
    session = Session(Run.create(out or free_folder(settings), settings), asked.watch, quiet=quiet, next_step=next_step)
    return session.carry_out(TrainState(method, settings.training))


def resume(given: Mapping[str, Any], out: Path | None, *, quiet: bool = False, next_step: bool = True) -> int:
    """Go on with a run.

    Args:
        given: Settings from the command line and a file; those of the run itself must be as they were.
        out: Its folder.
        quiet: Show no progress.
        next_step: Say what to do with a trained run.

    Returns:
        The exit code.
    """
    if out is None:
        found = sorted(str(path.parent) for path in Path("runs").glob("*/run.yaml"))
        mend = f"such as --out {found[-1]}" if found else "but there is none in runs/"
        raise SettingsError(f"--resume needs the folder of the run in --out, {mend}.")
    run = Run.open(out)
    run.writes = Workers.here().first
    plain = run.settings.plain()
    recorded = {name: plain[name] for name in (*recipe.SECTIONS, "train")} | plain["training"] | _own(out)
    asked = recipe.checked(overlay(recorded, given))
    _refuse_differences(run, asked.run)
    return _go_on(run, asked.watch, quiet=quiet, next_step=next_step)


def _start_among_workers(
    settings: RunSettings, watch: recipe.Watch, out: Path | None, *, quiet: bool, next_step: bool
) -> int:
    if out is None:
        raise SettingsError(
            "torchrun needs the run's folder in --out, such as --out runs/mine: a job that is started again goes on "
            "with the run that it finds there."
        )
    run = Run.shared(out, settings, Workers.here())
    _refuse_differences(run, settings)
    return _go_on(run, watch, quiet=quiet, next_step=next_step)


def _go_on(run: Run, watch: recipe.Watch, *, quiet: bool, next_step: bool) -> int:
    state, damaged = Workers.here().first_then_others(run.resume)
    for message in damaged:
        screen.warn(f"{message} Going on from step {state.number}.")
    return Session(run, watch, quiet=quiet, next_step=next_step).carry_out(state)


def _refuse_differences(run: Run, asked: RunSettings) -> None:
    if asked != run.settings:
        raise SettingsError(
            f"{run.folder} was started with other settings: {'; '.join(_differences(run.settings, asked))}. A run "
            "keeps its settings: leave them out to resume it, or start another run in another --out."
        )


def with_net(settings: RunSettings) -> RunSettings:
    """The settings with their net made explicit: that of the run to start from, or the usual one."""
    if settings.net is not None:
        return settings
    if settings.training.start is not None:
        return dataclasses.replace(settings, net=Run.open(settings.training.start).settings.net)
    images = len(settings.tasks.source("train").item) == 3
    return dataclasses.replace(settings, net=load("net", usual_net(owner_of(settings.method), images)))


def free_folder(settings: RunSettings, base: Path = Path("runs")) -> Path:
    """The first of runs/METHOD-TASKS-1, -2, ... that does not exist."""
    names = [registry.name_of(owner_of(part)).rpartition(":")[2].lower() for part in (settings.method, settings.tasks)]
    number = 1
    while (folder := base / f"{names[0]}-{names[1]}-{number}").exists():
        number += 1
    return folder


class Session:
    """One sitting of a run, from its start or a checkpoint to its end or an interruption.

    Args:
        run: The run.
        watch: What is looked after.
        quiet: Show no progress.
        next_step: Say what to do with a trained run.
    """

    def __init__(self, run: Run, watch: recipe.Watch, *, quiet: bool = False, next_step: bool = True) -> None:
        self.run, self.watch, self.quiet = run, watch, quiet
        self.workers = _sharing(run, Workers.here())
        self.next = f"\nNext: quickstudy evaluate {run.folder}" if next_step else ""
        self.log_every = max(1, run.settings.training.steps // LOGGED)
        self.protocol = Protocol(
            tasks=run.settings.tasks, split="val", episodes=watch.validation_episodes, shots=watch.validation_shots
        )
        self.metric: Metric = "accuracy" if self.protocol.source().likelihood == "categorical" else "mse"
        self.validated: dict[int, float] = {
            r["step"]: float(r["validation"]["mean"]) for r in run.history() if "validation" in r
        }
        self.said = ""
        self.saved_at = time.monotonic()
        self.began, self.taken = 0.0, 0

    def carry_out(self, state: TrainState) -> int:
        """Train to the end and say what comes next.

        Returns:
            0, or 130 when interrupted; the state is then saved.
        """
        folder = self.run.folder
        if self.watch.validation_steps is not None and not isinstance(state.method, Stepwise):
            kind = type(state.method).__name__
            raise SettingsError(f"validation_steps: {kind} does not adapt in steps. Leave validation_steps out.")
        if self.workers.first:
            _keep_own(folder, self.watch)
        if state.number and self._asks_validation(state) and state.number not in self.validated:
            self._validate(state)  # what a killed process owed
        if self._over(state):
            screen.say(f"{folder} is trained to its end, {state.number} steps.{self.next}")
            return 0
        self._greet(state)
        with _interruptible(self.workers):
            self._loop(state)
            if self.workers.stopping and not self._over(state):
                again = f"quickstudy train --resume --out {folder}"
                screen.warn(f"Interrupted after step {state.number}, which is saved. Go on with:\n  {again}")
                return 130
        self._farewell(state)
        return 0

    def _loop(self, state: TrainState) -> None:
        self.began, self.taken = state.seconds, 0
        source, pool = training_source(self.run.settings), pool_source(self.run.settings, state.method)
        with screen.progress("Training", 1.0, quiet=self.quiet) as ticker:
            try:
                for step in fit(state.method, source, state=state, workers=self.workers, pool=pool):
                    self._note(step, ticker)
                    if self._asks_validation(state):
                        self._validate(state)
                    elif self._due(state):
                        self._save(state)
                    if self.workers.stopping or self._out_of_patience():
                        break
            except QuickstudyError as error:
                if not isinstance(error, CheckpointError):  # which is what saving raises
                    self._save(state)  # its weights are still those of the step before
                raise
        self._save(state)

    def _note(self, step: Step, ticker: screen.Ticker) -> None:
        if step.number % self.log_every == 0 or step.number == 1:
            numbers = {"loss": step.loss, "grad_norm": step.grad_norm, "rate": step.rate}
            kind = {"flat": True} if step.flat else {}
            self.run.log({"step": step.number, **numbers, "seconds": round(step.seconds, 3), **kind})
        self.taken += step.tasks
        speed = self.taken / max(step.seconds - self.began, 1e-9)
        detail = f"step {step.number}  loss {step.loss:.3g}  {self.said}{speed:.3g} tasks/s"
        ticker.at(step.state.done(step.number), detail)

    def _validate(self, state: TrainState) -> None:
        """Evaluate on validation tasks, and keep the weights if none were better."""
        self._save(state)  # so that no validation is recorded of a step that is not saved
        found = evaluate(
            state.method,
            self.protocol,
            name="validation",
            steps=self.watch.validation_steps,
            workers=self.workers,
        )
        self.validated[state.number] = found.mean
        if self._best() == state.number:
            self.run.save_best(state, found.mean)  # before the record, without which a killed process validates again
        self.run.log({"step": state.number, "validation": {"mean": found.mean, "low": found.low, "high": found.high}})
        self.said = f"val {findings.score(found.mean, self.metric)}  "

    def _asks_validation(self, state: TrainState) -> bool:
        """Whether it is time: every so many steps, and at the end, wherever the minutes put it."""
        every = self.watch.validate_every
        return every > 0 and self.run.settings.training.split == "train" and (state.number % every == 0 or state.over)

    def _gain(self, mean: float) -> float:
        """The same figure, where more is better; a diverged one is worst of all."""
        if not math.isfinite(mean):
            return -math.inf
        return mean if self.metric == "accuracy" else -mean

    def _best(self) -> int:
        """The validated step whose weights are kept: the first of the best ones; where all diverged, the last."""
        best = max(self.validated, key=lambda step: self._gain(self.validated[step]))
        return best if math.isfinite(self.validated[best]) else max(self.validated)

    def _out_of_patience(self) -> bool:
        gains = [self._gain(mean) for mean in self.validated.values()]
        return 0 < self.watch.patience <= len(gains) - 1 - gains.index(max(gains)) if gains else False

    def _over(self, state: TrainState) -> bool:
        return state.over or self._out_of_patience()

    def _due(self, state: TrainState) -> bool:
        return state.number % self.watch.save_every == 0 or time.monotonic() - self.saved_at >= SAVE_SECONDS

    def _save(self, state: TrainState) -> None:
        self.run.save(state)
        self.saved_at = time.monotonic()

    def _greet(self, state: TrainState) -> None:
        settings = self.run.settings
        method, tasks, net = (registry.name_of(owner_of(p)) for p in (settings.method, settings.tasks, settings.net))
        numbers = sum(weight.numel() for weight in state.method.parameters())
        verb = f"Going on from step {state.number} of" if state.number else "Training"
        screen.say(f"{verb} {method} on {tasks}: {net}, {numbers:,} weights. Folder: {self.run.folder}")

    def _farewell(self, state: TrainState) -> None:
        text = f"Trained {state.number} steps in {findings.duration(state.seconds)}"
        if self._out_of_patience():
            text += f", stopped after {self.watch.patience} validations without a better one"
        if self.validated:
            best = self._best()
            text += f"; best validation {findings.score(self.validated[best], self.metric)} at step {best}"
        screen.say(f"{text}.{self.next}")


@contextmanager
def _interruptible(workers: Workers) -> Iterator[None]:
    """Within it, the first Ctrl-C or SIGTERM is a wish that the loop grants after its step; a second Ctrl-C ends it.

    torchrun may send several for one, and ends workers by force after half a minute: among workers a second is none.
    """

    def note(number: int, frame: FrameType | None) -> None:
        again, workers.stop = workers.stop, True
        if workers.count > 1:
            return
        if again:
            raise KeyboardInterrupt("Interrupted at once; the last checkpoint is kept.")
        screen.warn("\nFinishing this step, then saving. Press Ctrl-C again to stop at once.")

    if threading.current_thread() is not threading.main_thread():  # only there may signals be handled
        yield
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sharing(run: Run, workers: Workers) -> Workers:
    """The workers, if each has something to do in a step of the run."""
    settings = run.settings
    flat = tags_of(settings.method).trains_on == "pool"
    tasks = 1 if flat else settings.training.batch
    if workers.count > tasks:
        what = "one flat batch, which cannot be shared" if flat else f"{tasks} tasks"
        mend = "" if flat else f", or start another run with --batch {workers.count} or more"
        raise SettingsError(
            f"{workers.count} workers for steps of {what}: some would have nothing to do. Start torchrun with "
            f"--nproc-per-node={tasks}{mend}."
        )
    return workers


def _keep_own(folder: Path, watch: recipe.Watch) -> None:
    threads = int(os.environ.get("OMP_NUM_THREADS", "0").partition(",")[0] or 0)
    kept = {"threads": threads or None, "watch": dataclasses.asdict(watch)}
    files.write(folder / recipe.OWN, yaml.safe_dump(kept, sort_keys=False))


def _own(folder: Path) -> dict[str, Any]:
    """What a run is looked after by, as it was started; nothing where the run was made otherwise."""
    path = folder / recipe.OWN
    if not path.exists():
        return {}
    try:
        watch = yaml.safe_load(path.read_text(encoding="utf-8"))["watch"]
        return dict(watch)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Remove it to resume with the defaults.") from error


def _differences(old: RunSettings, new: RunSettings) -> list[str]:
    """What a person asks to be otherwise, a phrase each."""
    before, after = old.plain(), new.plain()
    found = []
    for part, value in before.items():
        if value != after[part] and isinstance(value, dict) and isinstance(after[part], dict):
            names = [name for name in {**value, **after[part]} if value.get(name) != after[part].get(name)]
            found += [f"{part}.{name} was {value.get(name)!r}, not {after[part].get(name)!r}" for name in names]
        elif value != after[part]:
            found.append(f"{part} was {value!r}, not {after[part]!r}")
    return found
