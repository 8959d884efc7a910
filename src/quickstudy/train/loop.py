"""The outer loop: a generator of steps over a state that can be saved.

Logging, validation and early stopping are the caller's ordinary Python around `for step in fit(...)`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from quickstudy.core import allocator, chance, tree
from quickstudy.core.denormals import without_denormals
from quickstudy.core.episode import Episode, Examples, to_device
from quickstudy.core.how import How
from quickstudy.core.learner import CoTrained, MetaLearner
from quickstudy.core.lift import Plan, over_tasks
from quickstudy.core.shapes import Float, Tensor
from quickstudy.core.workers import Workers
from quickstudy.errors import SettingsError, TrainingError
from quickstudy.nets.norm import PopulationNorm, gathering
from quickstudy.tasks.source import TaskSource
from quickstudy.train.ahead import Ahead
from quickstudy.train.compiled import Choice
from quickstudy.train.pace import Batch, chosen_plan, split
from quickstudy.train.settings import Training
from quickstudy.train.state import TrainState, device_of
from quickstudy.train.sums import Sums

__all__ = ["Step", "fit"]

GATHER_EVERY = 10
"""Steps after which layers that normalise by the population see one more training task."""


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
    flat: bool = False
    """Whether it was one of the conventional steps of a method that is `CoTrained`."""


def fit(
    method: MetaLearner,
    source: TaskSource,
    training: Training | None = None,
    state: TrainState | None = None,
    workers: Workers | None = None,
    *,
    pool: TaskSource | None = None,
) -> Iterator[Step]:
    """Train a method, yielding after every step.

    Args:
        method: Trained in place. Its meta-loss is averaged over the tasks of a step.
        source: Step *s* (from 0) takes its episodes s·batch to (s + 1)·batch - 1; of flat batches, for a method that
            trains on them, it takes number s alone.
        training: How long and how; see `Training`.
        state: Where to go on from, made of the same method and training; None starts anew.
        workers: Who shares the tasks of each step; all of them yield the same steps. None takes them alone.
        pool: Flat batches for a method that is `CoTrained`: step *s* takes number *s* of them, or else its episodes, by
            a draw that depends on *s* and the seed. None trains on episodes alone.

    Raises:
        SettingsError: the state was made of another method or training, or the method trains on no pool.
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
    allocator.keep_freed_memory()
    workers = workers or Workers()
    outer = _OuterStep(state, source, workers, pool)
    owed = 0.0
    while not state.over:
        start = time.perf_counter() - owed
        work = outer.work(state.number)
        rate = state.optimizer.param_groups[0]["lr"]
        method.train()  # whoever evaluated it since the last step has changed that
        method.reach(state.done(state.number))
        loss, norm = outer.backward(work)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            kept = "The weights of the step before are kept." if state.sound else "The step before broke the weights."
            raise TrainingError(
                f"step {state.number + 1}: the meta-loss is {loss} and its gradient has norm {norm}, on {work}. {kept} "
                "Lower the outer or the inner rate, or set clip."
            )
        spent = time.perf_counter() - start
        if state.training.minutes is not None:  # the rate and the end then follow the clock: one clock for all
            spent = workers.agree(spent)
        start = time.perf_counter()
        with without_denormals():
            state.optimizer.step()
        state.number += 1
        state.seconds += spent
        state.schedule.step()
        if state.number % GATHER_EVERY == 0 or state.over:
            outer.gather(state.number - 1)
        owed = time.perf_counter() - start  # after a message that may fail the step must be whole: the next pays
        yield Step(state.number, loss, norm, rate, len(work.numbers), state.seconds, state, work.flat_loss is not None)


class _Work(NamedTuple):
    """What one step trains on."""

    source: TaskSource
    numbers: range
    flat_loss: Callable[[Examples], Tensor] | None = None
    """Of a conventional step, on a flat batch."""

    def __str__(self) -> str:
        first, last = self.numbers[0], self.numbers[-1]
        what = f"episodes {first} to {last}" if self.flat_loss is None else f"flat batch {first}"
        return f"{what} (digest {self.source.digest(self.numbers)})"


class _OuterStep:
    """The gradient of one outer step: over tasks in chunks, so that memory does not grow with their number."""

    def __init__(self, state: TrainState, source: TaskSource, workers: Workers, pool: TaskSource | None) -> None:
        self.workers = workers
        self.method, self.training = state.method, state.training
        self.optimizer = state.optimizer
        self.device = device_of(self.training)
        self.source, self.pool, self.ahead = source, pool, Ahead(self.device)
        self.size = 1 if self.method.tags.trains_on == "pool" else self.training.batch
        if pool is not None and not (isinstance(self.method, CoTrained) and self.method.flat_batch):
            raise SettingsError(
                f"{type(self.method).__name__} as it was built takes no flat batches beside its episodes. Leave the "
                "pool out, or build a method that does (tadam, with the pool's outputs for its pool_outputs)."
            )
        self.flat_key = chance.key("train", "flat", source.fingerprint, self.training.seed)
        self.noise_key = chance.key("train", source.fingerprint, self.training.seed)
        self.state = state
        self.planned: dict[tuple[torch.Size, ...], Plan] = {}
        self.weights = {name: weight for name, weight in self.method.named_parameters() if weight.requires_grad}
        self.choice = Choice(state)
        self.gathers = any(isinstance(module, PopulationNorm) for module in self.method.modules())

    def work(self, number: int) -> _Work:
        """What a step takes: its episodes, or its flat batch."""
        if self.pool is not None and isinstance(self.method, CoTrained):
            share = self.method.flat_share(self.state.done(number))
            if chance.uniforms(self.flat_key, [number], 1).item() < share:
                return _Work(self.pool, range(number, number + 1), self.method.flat_loss)
        return _Work(self.source, range(number * self.size, (number + 1) * self.size))

    @without_denormals()
    def backward(self, work: _Work) -> tuple[float, float]:
        """Leave the gradient of the mean meta-loss in the weights; the loss, and the norm before clipping."""
        self.optimizer.zero_grad(set_to_none=True)
        own = self.workers.share(work.numbers)
        sums = Sums(self.weights.values(), self.device)
        episodes = self.ahead.take(work.source, own) if own else None
        following = self.work(self.state.number + 1)
        self.ahead.begin(following.source, self.workers.share(following.numbers))
        if episodes is not None:
            episodes = to_device(episodes, self.device)
            if work.flat_loss is None:
                self._share(episodes, own, len(work.numbers), sums)
            else:
                self._flat(work.flat_loss, episodes.query, sums)
        total = sums.leave(self.workers)
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self.training.clip or math.inf)
        both: list[float] = torch.stack([total.float(), norm.float()]).tolist()  # together: one wait for the device
        return both[0], both[1]

    def gather(self, step: int) -> None:
        """Show a step's first task to layers that normalise by the population; every worker shows the same one."""
        if not self.gathers:
            return
        number = step * self.size
        episode = tree.map_leaves(lambda leaf: leaf[0], to_device(self.source.batch([number]), self.device))
        noise = [each[0] for each in self._noise([number], self.method.noise_size)]
        with torch.no_grad(), self._autocast(), gathering():
            if self.method.tags.trains_on == "pool":
                self.method(episode, *noise)
            else:  # not all that a meta-loss measures is measured outside of transforms
                self.method.adapt(episode.support, *noise)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16")

    def _noise(self, numbers: Sequence[int], size: int) -> tuple[Float[Tensor, "t size"], ...]:
        return (chance.noise(self.noise_key, numbers, size).to(self.device),) if size else ()

    def _flat(self, flat_loss: Callable[[Examples], Tensor], batch: Examples, sums: Sums) -> None:
        """Add up the loss of a flat batch, and its gradient. It is one pass through the net, and never compiled."""
        with self._autocast():
            loss: Tensor = over_tasks(flat_loss, batch, how="loop").sum()
        loss.backward()  # type: ignore[no-untyped-call]
        sums.add(loss.detach())

    def _share(self, episodes: Episode, numbers: range, count: int, sums: Sums) -> None:
        """Add up what these tasks give to the mean meta-loss over `count` of them, and to its gradient."""
        noise = self._noise(numbers, self.method.noise_in_training)
        # by shape, not once: how tasks are split must not depend on the step that a resumed process began with
        shapes = tuple(leaf.shape for leaf in tree.leaves(episodes))
        if shapes not in self.planned:
            self.planned[shapes] = chosen_plan(self.state, (episodes, *noise))
        how, chunk = self.planned[shapes]
        start = time.monotonic()
        for part in split((episodes, *noise), chunk):
            compiled = self.choice.take(how, part)
            if compiled is None:
                sums.add(self._eagerly(how, part, count))
            else:
                sums.add(self._put(*compiled, share=len(part[0].query.mask) / count))
        self.choice.took(time.monotonic() - start)

    def _eagerly(self, how: How, part: Batch, count: int) -> Tensor:
        # `.backward()`: a quarter quicker for small nets than the outer gradient by `torch.func`
        with self._autocast():
            loss: Tensor = over_tasks(self.method, *part, how=how).sum() / count
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _put(self, mean: Tensor, slopes: dict[str, Tensor], share: float) -> Tensor:
        for name, slope in slopes.items():
            self.weights[name].grad = share * slope
        return share * mean
