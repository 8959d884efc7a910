"""All that the next step of training depends on, as it is saved and restored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import Plan
from quickstudy.core.shapes import Tensor
from quickstudy.errors import CheckpointError, SettingsError, TrainingError
from quickstudy.train.settings import Training

__all__ = ["TrainState", "device_of", "load_weights", "weights_of"]

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
        raise TrainingError(
            f"{type(method).__name__} has no weights to train, of its own or in its net. Give it a net that learns "
            "(mlp or conv4 in place of flatten), or choose a method that learns without one (r2d2, meta-baseline, "
            "anil). From Python it can be evaluated as it is: quickstudy.evaluate.evaluate(method, protocol)."
        )
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
