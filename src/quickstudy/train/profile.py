"""Where the time and the memory of a training step go, and which setting would change that."""

from __future__ import annotations

import ctypes
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from quickstudy.core import chance
from quickstudy.core.episode import Episode, to_device
from quickstudy.core.lift import over_tasks
from quickstudy.core.shapes import Tensor
from quickstudy.errors import SettingsError
from quickstudy.train.loop import fit
from quickstudy.train.pace import Batch, candidates, chosen_plan, split
from quickstudy.train.run import RunSettings, build_method, training_source
from quickstudy.train.settings import Training
from quickstudy.train.state import TrainState, device_of

__all__ = ["Part", "Profile", "Trial", "changes", "profile", "tried"]


@dataclass(frozen=True)
class Part:
    """One kind of work in a step."""

    name: str
    seconds: float
    """Of a step, in its middle repetition."""


@dataclass(frozen=True)
class Trial:
    """A step under other settings."""

    change: dict[str, Any]
    """Settings of training that differ from the run's; none for the run as it is."""
    seconds: float
    """Of the quickest step: what else the machine does can only add to it."""
    memory: int | None
    """Bytes at the step's peak, above what the process held before; None where that cannot be known."""
    note: str = ""
    """Why it could not be tried, or what it costs."""


@dataclass(frozen=True)
class Profile:
    """What `profile` found."""

    parts: tuple[Part, ...]
    plan: str
    """How the tasks of a step are taken."""
    tasks: int


def profile(settings: RunSettings, steps: int = 5) -> Profile:
    """Time each part of a run's step: sampling, transfer, inner loop, query, outer gradient, optimizer.

    Of a method that is co-trained it is a step on episodes.

    Args:
        settings: The run. Nothing of it is kept.
        steps: How often each part is repeated, after one step that warms up.

    Raises:
        SettingsError: the method trains on flat batches, whose steps have no such parts.
    """
    state, source = TrainState(build_method(settings), settings.training), training_source(settings)
    method, device = state.method, device_of(settings.training)
    if method.tags.trains_on == "pool":
        raise SettingsError(
            f"{type(method).__name__} trains on flat batches: its step is one pass and its gradient. Profile a method "
            "that trains on episodes."
        )
    found: dict[str, list[float]] = {}
    plan = ""
    for number in range(steps + 1):
        clock = _Clock(device)
        numbers = range(number * settings.training.batch, (number + 1) * settings.training.batch)
        episodes = source.batch(numbers)
        clock.stop("sampling")
        episodes = to_device(episodes, device)
        size = method.noise_in_training
        noise = chance.noise(chance.key("profile"), numbers, size).to(device) if size else None
        batch: Batch = (episodes,) if noise is None else (episodes, noise)
        clock.stop("transfer")
        how, chunk = chosen_plan(state, batch)
        plan = "one after the other" if how == "loop" else f"{chunk} mapped together"
        clock.skip()
        for part in split(batch, chunk):
            _of_chunk(state, how, part, clock)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        clock.stop("optimizer")
        for name, seconds in clock.spent.items():
            found.setdefault(name, []).append(seconds)
    parts = tuple(Part(name, median(seconds[1:])) for name, seconds in found.items())
    return Profile(parts, plan, settings.training.batch)


def _of_chunk(state: TrainState, how: Any, part: Batch, clock: _Clock) -> None:
    """The inner loop alone, then the whole meta-loss and its gradient: what the first lacks is the query's."""

    def adapt(episode: Episode, *noise: Tensor) -> Any:
        return state.method.adapt(episode.support, *noise)

    precision = state.training.precision == "bf16"
    with torch.autocast(part[0].support.x.device.type, torch.bfloat16, enabled=precision):
        over_tasks(adapt, *part, how=how)
        inner = clock.stop("inner loop")
        loss = over_tasks(state.method, *part, how=how).sum()
    whole = clock.lap()
    clock.add("query", max(0.0, whole - inner))
    loss.backward()
    clock.stop("outer gradient")


class _Clock:
    """Seconds since it was last looked at, summed by name, once the device has done what it was told."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.spent = device, dict[str, float]()
        self.start = time.perf_counter()

    def lap(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        passed, self.start = now - self.start, now
        return passed

    def add(self, name: str, seconds: float) -> None:
        self.spent[name] = self.spent.get(name, 0.0) + seconds

    def stop(self, name: str) -> float:
        seconds = self.lap()
        self.add(name, seconds)
        return seconds

    def skip(self) -> None:
        self.lap()


def changes(settings: RunSettings, *, compiled: bool = False) -> list[dict[str, Any]]:
    """The settings of training that are worth trying for a run, the first of them none: the run as it is.

    Args:
        settings: The run.
        compiled: Whether to try the compiled step too, which takes a minute or so.
    """
    method, training = build_method(settings), settings.training
    episodic = method.tags.trains_on != "pool"
    found: list[dict[str, Any]] = [{}]
    if method.tags.maps and episodic:
        plans = candidates((training_source(settings).batch(range(training.batch)),))
        found += [{"how": how} if how == "loop" else {"how": how, "chunk": chunk} for how, chunk in plans]
    if training.precision == "float32":
        found.append({"precision": "bf16"})
    if not training.channels_last and any(weight.ndim == 4 for weight in method.parameters()):
        found.append({"channels_last": True})
    if compiled and training.compile == "never" and episodic:
        found.append({"compile": "always"})
    return found


def tried(settings: RunSettings, change: dict[str, Any], steps: int = 5) -> Trial:
    """Time whole steps of a run under a change of its settings, after two that warm up. Nothing is kept of them."""
    # as many steps as the run has left would make it measure a plan of its own, which is what is asked here
    training: Training = dataclasses.replace(settings.training, steps=steps + 2, minutes=None, **change)
    run = dataclasses.replace(settings, training=training)
    reset = _memory(device_of(training))
    marks, before = [time.perf_counter()], reset()
    try:
        for step in fit(method := build_method(run), training_source(run), training):
            marks.append(time.perf_counter())
            compiled = step.state.compiled
    except (RuntimeError, torch.OutOfMemoryError) as error:
        return Trial(change, float("nan"), None, str(error).partition("\n")[0][:80])
    del method
    after = reset()
    memory = None if before is None or after is None else max(0, after[0] - before[1])
    seconds = [later - earlier for earlier, later in pairwise(marks[2:])]
    note = f"compiled in {compiled['seconds']:.0f} s" if compiled else ""
    return Trial(change, min(seconds), memory, note)


def _memory(device: torch.device) -> Callable[[], tuple[int, int] | None]:
    """A function that gives the peak since it was last called, and what is held now, in bytes."""

    def cuda() -> tuple[int, int]:
        peak, held = torch.cuda.max_memory_allocated(device), torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak, held

    def linux() -> tuple[int, int] | None:
        try:
            ctypes.CDLL(None).malloc_trim(0)  # what is freed is not held
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            return int(status["VmHWM"].split()[0]) << 10, int(status["VmRSS"].split()[0]) << 10
        except (AttributeError, OSError, KeyError, ValueError):
            return None

    return cuda if device.type == "cuda" else linux
