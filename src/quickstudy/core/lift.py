"""The one place with a task axis: what is written for one task, done for many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from quickstudy.core import tree
from quickstudy.core.episode import Episode
from quickstudy.core.learner import MetaLearner
from quickstudy.core.shapes import Tensor
from quickstudy.errors import SettingsError

__all__ = ["How", "over_tasks", "plan"]

How = Literal["map", "loop"]


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


def plan(method: MetaLearner, episodes: Episode, *noise: Tensor, how: How | Literal["auto"] = "auto") -> How:
    """How to take a method over these tasks: `how`, with "auto" resolved to what is quicker.

    Auto maps what can be mapped, except on a CPU where the method's learners have convolutions of their own: those
    become grouped convolutions, twice as slow as one task after the other. A single task is never worth mapping.
    """
    if how != "auto":
        return how
    if not method.tags.maps or len(episodes.support.mask) == 1:
        return "loop"
    convolutions = {weight.shape for weight in method.parameters() if weight.ndim > 2}
    if convolutions and episodes.support.x.device.type == "cpu":
        with torch.no_grad():
            learner = method.adapt(tree.unstack(episodes.support)[0], *(each[0] for each in noise))
        if any(leaf.shape in convolutions for leaf in tree.leaves(learner)):
            return "loop"
    return "map"
