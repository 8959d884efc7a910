"""The outer loop: a generator of steps over a state that can be saved.

Logging, validation and early stopping are the caller's ordinary Python around `for step in fit(...)`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from quickstudy.core import chance, tree
from quickstudy.core.episode import to_device
from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import How, over_tasks
from quickstudy.core.shapes import Float, Tensor
from quickstudy.core.workers import Workers
from quickstudy.errors import CheckpointError, SettingsError, TrainingError
from quickstudy.tasks.source import TaskSource
from quickstudy.train.compiled import Choice
from quickstudy.train.pace import Batch, Plan, chosen_plan, split
from quickstudy.train.settings import Training

__all__ = ["Step", "TrainState", "device_of", "fit", "load_weights", "weights_of"]

Optimizer = torch.optim.Optimizer
Schedule = torch.optim.lr_scheduler.LambdaLR


@dataclass
class TrainState:
    """Everything that the next step depends on: `tensors` and `scalars` save it, `restore` brings it back.

    Because episode *i* of a source is a function of *i*, the state of the data is one integer, and no random number
    generator has a state at all.
    """

    method: MetaLearner
    training: Training
    number: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Wall-clock time spent in steps."""
    compiled: dict[str, Any] | None = None
    """What came of compiling the step, if that was tried: whether it was "kept", the "seconds" it took, and the seconds
    of a step's tasks "eager" and "compiled"."""
    plans: dict[str, Plan] = field(default_factory=dict)
    """How tasks are taken, by their shapes, where that was measured."""
    optimizer: Optimizer = field(init=False)
    schedule: Schedule = field(init=False)

    def __post_init__(self) -> None:
        self.method.to(device_of(self.training))
        if self.training.channels_last:
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = _optimizer(self.method, self.training)
        self.schedule = Schedule(self.optimizer, self._share_of_rate)

    def _share_of_rate(self, number: int) -> float:
        return _share_of_rate(self.training, number, self.done(number))

    def done(self, number: int) -> float:
        """The share of the run that lies behind step `number`: of its steps, or of its minutes if they end first."""
        share = number / self.training.steps
        return share if self.training.minutes is None else max(share, self.seconds / (60 * self.training.minutes))

    def seconds_left(self, pace: float) -> float:
        """How long the rest of the run takes at so many seconds a step."""
        left = pace * (self.training.steps - self.number)
        return left if self.training.minutes is None else min(left, 60 * self.training.minutes - self.seconds)

    @property
    def over(self) -> bool:
        """Whether the run has come to its end."""
        return self.done(self.number) >= 1

    @property
    def sound(self) -> bool:
        """Whether all weights are finite, so that training can go on from here."""
        return all(bool(torch.isfinite(weight).all()) for weight in self.method.parameters())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the state, by name: weights under "method/", the optimizer's under "optimizer/"."""
        kept = weights_of(self.method)
        for number, values in self.optimizer.state_dict()["state"].items():
            kept |= {f"optimizer/{number}/{name}": value for name, value in values.items() if value is not None}
        return kept

    def scalars(self) -> dict[str, Any]:
        """The plain numbers of the state."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        kept = {"number": self.number, "seconds": self.seconds, "optimizer": self.training.optimizer, "rates": rates}
        found = {"compiled": self.compiled, "plans": {shapes: list(plan) for shapes, plan in self.plans.items()}}
        return kept | {name: value for name, value in found.items() if value}

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Become the state that was saved.

        Raises:
            CheckpointError: it was saved of another method or optimizer.
        """
        load_weights(self.method, tensors)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer/"):
                _, number, what = name.split("/", 2)
                moments.setdefault(int(number), {})[what] = value
        if scalars.get("optimizer") != self.training.optimizer:
            raise CheckpointError(
                f"the saved state is of training with {scalars.get('optimizer')}, not {self.training.optimizer}. Go on "
                "from it with the settings that it was trained with."
            )
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.number, self.seconds = scalars["number"], scalars["seconds"]
        self.compiled = scalars.get("compiled")
        self.plans = {shapes: (how, chunk) for shapes, (how, chunk) in scalars.get("plans", {}).items()}
        for group, rate in zip(self.optimizer.param_groups, scalars["rates"], strict=True):
            group["lr"] = rate
        self.schedule.load_state_dict({"last_epoch": self.number, "_step_count": self.number + 1, "lr_lambdas": [None]})


def weights_of(method: MetaLearner) -> dict[str, Tensor]:
    """A method's weights as a checkpoint names them."""
    return {f"method/{name}": value for name, value in method.state_dict().items()}


def load_weights(method: MetaLearner, tensors: dict[str, Tensor]) -> None:
    """Give a method the weights of a checkpoint.

    Raises:
        CheckpointError: they are those of another method or net.
    """
    saved = {name.removeprefix("method/"): value for name, value in tensors.items() if name.startswith("method/")}
    try:
        method.load_state_dict(saved)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()  # torch lists every weight; one tells enough
        raise CheckpointError(
            f"the saved weights do not fit {type(method).__name__}: {reason} Build it with the settings it was trained "
            "with."
        ) from error


@dataclass(frozen=True)
class Step:
    """One outer step, just done."""

    number: int
    """Steps done so far, this one included."""
    loss: float
    """Mean meta-loss of the step's tasks, before it."""
    grad_norm: float
    """Length of the meta-gradient before clipping."""
    rate: float
    """Step size of the outer optimizer."""
    tasks: int
    """Tasks of this step; 1 where it was one flat batch."""
    seconds: float
    """Wall-clock time of all steps so far."""
    state: TrainState
    """What to save; it moves on with the next step."""


def fit(
    method: MetaLearner,
    source: TaskSource,
    training: Training | None = None,
    state: TrainState | None = None,
    workers: Workers | None = None,
) -> Iterator[Step]:
    """Train a method, yielding after every step.

    Args:
        method: Trained in place. Its meta-loss is averaged over the tasks of a step.
        source: Step *s* (from 0) takes its episodes s·batch to (s + 1)·batch - 1; of flat batches, for a method that
            trains on them, it takes number s alone.
        training: How long and how; see `Training`.
        state: Where to go on from, made of the same method and training; None starts anew.
        workers: Who shares the tasks of each step; all of them yield the same steps. None takes them alone.

    Raises:
        SettingsError: the state was made of another method or training.
        WorkersError: another worker is lost. The weights are those of the step before.
        TrainingError: the meta-loss or its gradient is not finite, naming the step and the episodes' digest. The
            weights are then still those of the step before.
    """
    state = TrainState(method, training or Training()) if state is None else state
    if state.method is not method or training not in (None, state.training):
        raise SettingsError(
            "the state to go on from was made of another method or training. Give fit its own: "
            "fit(state.method, source, state=state)."
        )
    method.train()
    workers = workers or Workers()
    outer = _OuterStep(state, source, workers)
    size = 1 if method.tags.trains_on == "pool" else state.training.batch
    owed = 0.0
    while not state.over:
        start = time.perf_counter() - owed
        numbers = range(state.number * size, (state.number + 1) * size)
        rate = state.optimizer.param_groups[0]["lr"]
        loss, norm = outer.backward(numbers)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            kept = "The weights of the step before are kept." if state.sound else "The step before broke the weights."
            raise TrainingError(
                f"step {state.number + 1}: the meta-loss is {loss} and its gradient has norm {norm}, on episodes "
                f"{numbers[0]} to {numbers[-1]} (digest {source.digest(numbers)}). {kept} Lower the outer or the inner "
                "rate, or set clip."
            )
        spent = time.perf_counter() - start
        if state.training.minutes is not None:  # the rate and the end then follow the clock: one clock for all
            spent = workers.agree(spent)
        start = time.perf_counter()
        state.optimizer.step()
        state.number += 1
        state.seconds += spent
        state.schedule.step()
        owed = time.perf_counter() - start  # after a message that may fail the step must be whole: the next pays
        yield Step(state.number, loss, norm, rate, len(numbers), state.seconds, state)


class _OuterStep:
    """The gradient of one outer step: over tasks in chunks, so that memory does not grow with their number."""

    def __init__(self, state: TrainState, source: TaskSource, workers: Workers) -> None:
        self.workers = workers
        self.method, self.training, self.source = state.method, state.training, source
        self.optimizer = state.optimizer
        self.device = device_of(self.training)
        self.noise_key = chance.key("train", source.fingerprint, self.training.seed)
        self.state = state
        self.planned: dict[tuple[torch.Size, ...], Plan] = {}
        self.weights = {name: weight for name, weight in self.method.named_parameters() if weight.requires_grad}
        self.choice = Choice(state)

    def backward(self, numbers: range) -> tuple[float, float]:
        """Leave the gradient of the mean meta-loss in the weights; the loss, and the norm before clipping."""
        self.optimizer.zero_grad(set_to_none=True)
        own = self.workers.share(numbers)
        total = self._share(own, len(numbers)) if own else torch.zeros((), device=self.device)
        total = self.workers.add_up(self.weights.values(), total)
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self.training.clip or math.inf)
        both: list[float] = torch.stack([total.float(), norm.float()]).tolist()  # together: one wait for the device
        return both[0], both[1]

    def _share(self, numbers: range, count: int) -> Tensor:
        """Leave what these tasks add to the gradient of the mean over `count` of them; what they add to the loss."""
        episodes = to_device(self.source.batch(numbers), self.device)
        noise: tuple[Float[Tensor, "t size"], ...] = ()
        if self.method.noise_size:
            noise = (chance.noise(self.noise_key, numbers, self.method.noise_size).to(self.device),)
        # by shape, not once: how tasks are split must not depend on the step that a resumed process began with
        shapes = tuple(leaf.shape for leaf in tree.leaves(episodes))
        if shapes not in self.planned:
            self.planned[shapes] = chosen_plan(self.state, (episodes, *noise))
        how, chunk = self.planned[shapes]
        total = torch.zeros((), device=self.device)
        start = time.monotonic()
        for part in split((episodes, *noise), chunk):
            compiled = self.choice.take(how, part)
            if compiled is None:
                total += self._eagerly(how, part, count)
            else:
                total += self._added(*compiled, share=len(part[0].query.mask) / count)
        self.choice.took(time.monotonic() - start)
        return total

    def _eagerly(self, how: How, part: Batch, count: int) -> Tensor:
        # `.backward()`: a quarter quicker for small nets than the outer gradient by `torch.func`
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"):
            loss: Tensor = over_tasks(self.method, *part, how=how).sum() / count
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _added(self, mean: Tensor, slopes: dict[str, Tensor], share: float) -> Tensor:
        for name, slope in slopes.items():
            weight = self.weights[name]
            weight.grad = share * slope if weight.grad is None else weight.grad.add_(slope, alpha=share)
        return share * mean


def device_of(training: Training) -> torch.device:
    """The device that a run computes on.

    Raises:
        SettingsError: this machine has no such device.
    """
    if training.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(training.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        reason = str(error).partition("\n")[0]
        raise SettingsError(
            f"device={training.device!r} cannot be used here: {reason}. Write auto, cpu or cuda."
        ) from error
    return device


def _optimizer(method: MetaLearner, training: Training) -> Optimizer:
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    if not weights:
        raise TrainingError(f"{type(method).__name__} has no weights to train. Evaluate it as it is.")
    match training.optimizer:
        case "adam":
            return torch.optim.Adam(weights, training.rate, weight_decay=training.weight_decay)
        case "adamw":
            return torch.optim.AdamW(weights, training.rate, weight_decay=training.weight_decay)
    return torch.optim.SGD(weights, training.rate, momentum=training.momentum, weight_decay=training.weight_decay)


def _share_of_rate(training: Training, number: int, done: float) -> float:
    rising = min(1.0, (number + 1) / (training.warmup + 1))
    match training.schedule:
        case "cosine":
            return rising * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        case "step":
            return rising * 0.5 ** math.floor(10 * min(done, 1.0))
    return rising
