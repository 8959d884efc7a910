"""Tasks of different sizes made into batches that one mapped call takes, and what it says taken apart again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from quickstudy.core import tree
from quickstudy.core.episode import Examples
from quickstudy.core.predictions import Categorical, Mixture, Prediction
from quickstudy.core.shapes import Bool, Tensor

__all__ = ["among", "apart", "by_rounds", "cut", "groups", "on", "own", "padded", "padded_inputs", "shapes", "stacked"]

T = TypeVar("T")


def groups(things: Sequence[T], kind: Callable[[T], Hashable], size: Callable[[T], int]) -> Iterator[list[int]]:
    """The positions of things that go together: of one kind, the largest at most twice the smallest.

    Padded to the largest of its group, none then takes more than twice its own work.
    """
    of_kind: dict[Hashable, list[int]] = {}
    for at, thing in enumerate(things):
        of_kind.setdefault(kind(thing), []).append(at)
    for members in of_kind.values():
        group: list[int] = []
        for at in sorted(members, key=lambda at: size(things[at])):
            if group and size(things[at]) > 2 * size(things[group[0]]):
                yield group
                group = []
            group.append(at)
        yield group


def padded(supports: Sequence[Examples]) -> Examples:
    """Supports as one batch [t, n, ...]: the shorter ones end in masked zeros."""
    most = max(len(each.mask) for each in supports)
    return tree.stack([Examples(*(_longer(field, most) for field in each)) for each in supports])


def padded_inputs(inputs: Sequence[Tensor]) -> Tensor:
    """Inputs of several tasks as one batch [t, n, *item]: the shorter ones end in zeros."""
    most = max(len(x) for x in inputs)
    return torch.stack([_longer(x, most) for x in inputs])


def _longer(values: Tensor, length: int) -> Tensor:
    if len(values) == length:
        return values
    return torch.cat([values, values.new_zeros(length - len(values), *values.shape[1:])])


def apart(batch: Any) -> list[Any]:
    """A tree with a leading axis of tasks as the list of its slices, none of which keeps the others in memory."""
    flat, spec = tree.flatten(batch)
    slices = zip(*(leaf.unbind() for leaf in flat), strict=True)
    return [tree.unflatten([own(leaf) for leaf in each], spec) for each in slices]


def own(leaf: Tensor) -> Tensor:
    """A copy that lies in memory as one read from bytes would: products of matrices depend on it in their last bit."""
    return leaf.clone(memory_format=torch.contiguous_format)


def shapes(state: Any) -> Hashable:
    """What the states of learners must share to be stacked."""
    # by hand, for torch's own walk through a tree takes longer than the work on a small task
    if isinstance(state, Tensor):
        return state.shape, state.dtype
    parts = state.items() if isinstance(state, dict) else enumerate(state)
    return type(state), tuple((name, shapes(each)) for name, each in parts)


def stacked(states: Sequence[Any], device: torch.device) -> Any:
    """States of equal `shapes` as one with a leading axis of tasks, on a device."""
    flat: list[list[Tensor]] = [[] for _ in states]
    for state, leaves in zip(states, flat, strict=True):
        _collect(state, leaves, device)
    spec = tree.flatten(states[0])[1]
    return tree.unflatten([torch.stack(column) for column in zip(*flat, strict=True)], spec)


def on(state: Any, device: torch.device) -> Any:
    """A state on a device; itself where it is there already."""
    leaves: list[Tensor] = []
    _collect(state, leaves, None)
    if all(leaf.device == device for leaf in leaves):
        return state
    return tree.map_leaves(lambda leaf: leaf.to(device), state)


def _collect(state: Any, leaves: list[Tensor], device: torch.device | None) -> None:
    if isinstance(state, Tensor):
        leaves.append(state if device in (None, state.device) else state.to(device))
        return
    for each in state.values() if isinstance(state, dict) else state:
        _collect(each, leaves, device)


def by_rounds(y: Sequence[int]) -> list[int]:
    """Positions of examples with these classes, in the order in which training episodes hold them: the first of each
    class, then the second of each."""
    seen: dict[int, int] = {}
    order = []
    for at, label in enumerate(y):
        seen[label] = seen.get(label, -1) + 1
        order.append((seen[label], label, at))
    return [at for _, _, at in sorted(order)]


def cut(said: Prediction, rows: int, ways: int | None = None) -> Prediction:
    """The first rows of a prediction; of one of classes the first `ways`, with their probabilities renormalised."""
    if isinstance(said, Mixture) and ways is None:
        parts = tree.map_leaves(lambda leaf: leaf[:, :rows], said.parts)
        return said._replace(parts=parts)
    if isinstance(said, Mixture):
        # Members weigh otherwise once classes are left out, and not for every query alike: their mean is cut.
        return Categorical(_log_mean(said)[:rows, :ways])
    cut_rows: Prediction = tree.map_leaves(lambda leaf: leaf[:rows], said)
    return Categorical(cut_rows.logits[:, :ways]) if isinstance(cut_rows, Categorical) else cut_rows


def among(said: Prediction, present: Bool[Tensor, " k"]) -> Categorical:
    """What is said of classes, those ruled out that are not present."""
    logits = said.logits if isinstance(said, Categorical) else _log_mean(said)
    return Categorical(torch.where(present, logits, -torch.inf))


def _log_mean(said: Prediction) -> Tensor:
    return said.mean.clamp(min=1e-30).log()
