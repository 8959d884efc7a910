"""How many tasks to take together: chosen from device, net and memory by a measurement, once for a machine.

A plan changes rounding, so it belongs to a run's state: a resumed run splits its tasks as it did before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from quickstudy.core import tree
from quickstudy.core.episode import Episode
from quickstudy.core.how import How
from quickstudy.core.lift import Plan, over_tasks, plan
from quickstudy.core.shapes import Tensor
from quickstudy.train import remembered
from quickstudy.train.state import TrainState

__all__ = ["Batch", "candidates", "chosen_plan", "gradient", "pace_of_operations", "seconds_of", "split"]

Batch = tuple[Episode, *tuple[Tensor, ...]]

WORTH = 500
"""Steps still to be taken for which it is worth measuring."""
BETTER = 0.9
"""Another plan must take at most this share of the guess's time, or noise would choose."""
SHAPES = 4
"""Shapes of batches that are measured. Where there are more, sizes are drawn from ranges, and each comes too seldom."""
SHARE = 0.5
"""How much of an accelerator's free memory a chunk may take."""


def chosen_plan(state: TrainState, batch: Batch) -> Plan:
    """How to take these tasks: as the run did before, as asked for, as was measured before, or as is measured now.

    Args:
        state: The run. What is measured is written into its `plans`.
        batch: Tasks on their device, and their noise.
    """
    training, method = state.training, state.method
    guess = plan(method, *batch, how=training.how, chunk=training.chunk, trains=True)
    tasks = len(batch[0].support.mask)
    open_ = training.how == "auto" and training.chunk is None and method.tags.maps and tasks > 1
    if not open_ or training.compile != "never":
        return guess
    shapes = "/".join(str(list(leaf.shape)) for leaf in tree.leaves(batch))
    if shapes in state.plans:
        how, chunk = state.plans[shapes]
        return how, chunk
    if training.steps - state.number < WORTH or len(state.plans) >= SHAPES:
        return guess
    key = remembered.key_of(method, batch, what="plan", precision=training.precision, last=training.channels_last)
    known = remembered.recall(key)
    found: Plan = (known["how"], known["chunk"]) if known else _quickest(state, batch, guess)
    remembered.remember(key, {"how": found[0], "chunk": found[1]})
    state.plans[shapes] = found
    return found


def candidates(batch: Batch) -> Iterator[Plan]:
    """Every plan worth trying, from the least memory to the most."""
    tasks = len(batch[0].support.mask)
    yield "loop", 1
    for power in range(1, max(1, math.ceil(math.log2(tasks))) + 1):
        yield "map", min(tasks, 2**power)


def _quickest(state: TrainState, batch: Batch, guess: Plan) -> Plan:
    """The guess, or a plan that is clearly quicker by the task; larger chunks are tried as long as they help."""
    device = batch[0].support.x.device

    def pace(found: Plan) -> float:
        part = next(split(batch, found[1] if found[0] == "map" else min(4, len(batch[0].support.mask))))
        return seconds_of(lambda: gradient(state, found[0], part), device) / len(part[0].support.mask)

    paces = {guess: pace(guess)}
    best = math.inf
    for each in candidates(batch):
        if each not in paces:
            if each[0] == "map" and not _fits(state, batch, each[1]):
                break
            paces[each] = pace(each)
        if each[0] == "map" and paces[each] > 1.5 * best:
            break
        best = min(best, paces[each])
    quickest = min(paces, key=lambda each: paces[each])
    if quickest != guess:  # the two were not measured side by side: another process may have disturbed either
        for each in (guess, quickest):
            paces[each] = min(paces[each], pace(each))
    return quickest if paces[quickest] <= BETTER * paces[guess] else guess


def _fits(state: TrainState, batch: Batch, chunk: int) -> bool:
    """Whether an accelerator has room for so many tasks, by what two take. A processor's memory is not asked."""
    device = batch[0].support.x.device
    if device.type != "cuda":
        return True
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    gradient(state, "map", next(split(batch, 2)))
    each = (torch.cuda.max_memory_allocated(device) - before) / 2
    return chunk * each <= SHARE * torch.cuda.mem_get_info(device)[0]


def gradient(state: TrainState, how: How, part: Batch) -> Tensor:
    """The mean meta-loss of these tasks; its gradient is computed and thrown away."""
    device, weights = part[0].support.x.device, [w for w in state.method.parameters() if w.requires_grad]
    with torch.autocast(device.type, torch.bfloat16, enabled=state.training.precision == "bf16"):
        loss: Tensor = over_tasks(state.method, *part, how=how).mean()
    torch.autograd.grad(loss, weights, allow_unused=True)
    return loss.detach()


def seconds_of(run: Callable[[], Tensor], device: torch.device, times: int = 3) -> float:
    """Seconds that a call takes on a device: the least of a few, for what disturbs only adds; one warms up."""
    found = []
    for _ in range(times + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - start)
    return min(found[1:])


def pace_of_operations(state: TrainState, how: How, part: Batch) -> tuple[float, int]:
    """Seconds that an operation of the gradient of these tasks takes on average, and how many of them there are."""
    seconds = seconds_of(lambda: gradient(state, how, part), part[0].support.x.device)
    with _Counting() as operations:
        gradient(state, how, part)
    return seconds / operations.count, operations.count


class _Counting(TorchDispatchMode):
    """Counts the operations that reach a device: what is left of a graph once it is mapped and differentiated."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """A batch of tasks in parts of at most `size`."""
    for start in range(0, len(batch[0].support.mask), size):
        yield tree.map_leaves(lambda leaf, at=start: leaf[at : at + size], batch)
