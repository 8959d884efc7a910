"""The one place with a task axis: what is written for one task, done for many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from quickstudy.core import tree
from quickstudy.core.episode import Episode
from quickstudy.core.how import AskedHow, How
from quickstudy.core.learner import MetaLearner
from quickstudy.core.shapes import Tensor
from quickstudy.errors import SettingsError

__all__ = ["Plan", "over_tasks", "own_convolutions", "plan", "suitable_chunk"]

Plan = tuple[How, int]
"""How tasks are taken, and how many at a time."""

NUMBERS = {"cpu": 2**17}
"""How many input numbers are mapped together. With Conv-4 on one CPU core (two five-way tasks of 28x28 images are 2**17
numbers) larger maps took up to one and a half times as long and four times the memory."""
NUMBERS_ELSEWHERE = 2**23
"""On an accelerator: the first maps of 64 channels then take 2 GiB."""
OWN_CONVOLUTIONS = 4
"""Tasks mapped together on a CPU where each has convolutions of its own, which are then computed as grouped ones. In
training strided MAML was quickest with 8, pooled MAML with 1, fine-tuning with 4; 4 took the least time over all three.
"""
ASKED_ALONE, WIDE = 8, 2**14
"""The same where learners are only asked, and nothing is learned from what they say: with 16 or 32 channels most were
quickest with 8; with 64, whose convolutions have more than WIDE weights, one after the other (`benchmarks/asking.py`:
pooled nets took 0.69 to 0.95 of the time, strided ones 0.87 to 1.24)."""


def over_tasks(fn: Callable[..., Any], *batches: Any, how: How = "map", chunk: int | None = None) -> Any:
    """Apply `fn`, written for one task, along the leading axis of every tensor in `batches`.

    Args:
        fn: A pure function of as many trees of tensors as there are `batches`.
        batches: Trees whose every leaf starts with an axis of `t` tasks.
        how: "map" runs tasks together with `torch.func.vmap`; "loop" one after the other, with the same result.
        chunk: At most this many tasks are mapped together; None maps all at once. The loop ignores it.

    Returns:
        The tree that `fn` returns, with a leading axis of `t` tasks.

    >>> from quickstudy import over_tasks
    >>> over_tasks(lambda x: x.sum(), torch.ones(3, 4))
    tensor([4., 4., 4.])
    """
    if how == "loop":
        return tree.stack([fn(*each) for each in tree.unstack(batches)])
    if how != "map":
        raise SettingsError(f"how={how!r}: tasks are run by 'map' or 'loop'.")
    return torch.func.vmap(fn, chunk_size=chunk)(*batches)


def plan(
    method: MetaLearner,
    episodes: Episode,
    *noise: Tensor,
    how: AskedHow = "auto",
    chunk: int | None = None,
    trains: bool = False,
) -> Plan:
    """How to take a method over these tasks, and how many at a time: for `over_tasks`, with nothing left open.

    Auto maps what can be mapped, except a single task. Chunks left open suit the device; where learners have
    convolutions of their own, which a CPU computes as grouped ones, they are small.

    Args:
        method: What is to be taken over the tasks.
        episodes: The tasks, on their device.
        noise: What `adapt` takes besides the support, with an axis of tasks.
        how: What is asked for.
        chunk: As above; a number is kept.
        trains: Whether meta-gradients are to be taken, and not only answers.
    """
    tasks = len(episodes.support.mask)
    if how == "loop" or (how == "auto" and (not method.tags.maps or tasks == 1)):
        return "loop", 1
    chunk = min(tasks, chunk or _suitable_chunk(method, episodes, noise, trains))
    return ("loop" if how == "auto" and chunk == 1 else "map"), chunk


def _suitable_chunk(method: MetaLearner, episodes: Episode, noise: tuple[Tensor, ...], trains: bool) -> int:
    device = episodes.support.x.device.type
    own = device == "cpu" and own_convolutions(
        method, lambda: method.adapt(tree.unstack(episodes.support)[0], *(each[0] for each in noise))
    )
    if own and not trains:
        return 1 if max(weight.numel() for weight in method.parameters() if weight.ndim > 2) > WIDE else ASKED_ALONE
    numbers = (episodes.support.x.numel() + episodes.query.x.numel()) // len(episodes.support.mask)
    return suitable_chunk(device, numbers, own)


def own_convolutions(method: MetaLearner, adapt: Callable[[], Any]) -> bool:
    """Whether each task's learner has convolutions of its own: tensors of the shape of one of the method's.

    Args:
        method: The method.
        adapt: Makes a learner of some task; not called where the method has no convolutions.
    """
    shapes = {weight.shape for weight in method.parameters() if weight.ndim > 2}
    if not shapes:
        return False
    with torch.no_grad():
        return any(leaf.shape in shapes for leaf in tree.leaves(adapt()))


def suitable_chunk(device: str, numbers: int, own_convolutions: bool = False) -> int:
    """How many tasks are best mapped together.

    Args:
        device: The type of device.
        numbers: Input numbers of a task.
        own_convolutions: Whether each task's learner has convolutions of its own.
    """
    if own_convolutions and device == "cpu":
        return OWN_CONVOLUTIONS
    return max(1, NUMBERS.get(device, NUMBERS_ELSEWHERE) // max(1, numbers))
