"""Tasks of different sizes made into batches that one mapped call takes, and what it says taken apart again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from quickstudy.core import tree
from quickstudy.core.episode import Examples
from quickstudy.core.predictions import Categorical, Mixture, Prediction
from quickstudy.core.shapes import Bool, Tensor

__all__ = [
    "Leaves",
    "among",
    "apart",
    "by_rounds",
    "cut",
    "each_said",
    "groups",
    "on",
    "own",
    "padded",
    "padded_inputs",
    "stacked",
]


def groups(kinds: Sequence[Hashable], sizes: Sequence[int]) -> Iterator[list[int]]:
    """The positions of things that go together: of one kind, the largest at most twice the smallest.

    Padded to the largest of its group, none then takes more than twice its own work.
    """
    of_kind: dict[Hashable, list[int]] = {}
    for at, kind in enumerate(kinds):
        of_kind.setdefault(kind, []).append(at)
    for members in of_kind.values():
        group: list[int] = []
        for at in sorted(members, key=sizes.__getitem__):
            if group and sizes[at] > 2 * sizes[group[0]]:
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
    slices = zip(*(leaf.unbind() for leaf in Leaves.of(batch).tensors), strict=True)
    return [_formed(batch, iter([own(leaf) for leaf in each])) for each in slices]


def each_said(batch: Any) -> list[Any]:
    """A prediction with a leading axis of tasks as the list of its slices."""
    if isinstance(batch, Categorical):
        return [Categorical(logits) for logits in batch.logits.unbind()]
    return apart(batch)


def own(leaf: Tensor) -> Tensor:
    """A copy that lies in memory as one read from bytes would: products of matrices depend on it in their last bit."""
    return leaf.clone(memory_format=torch.contiguous_format)


class Leaves(NamedTuple):
    """The tensors of a state, told once for all calls: torch's own walk through a tree takes longer than a small task.

    States of equal `shapes` can be stacked.
    """

    shapes: Hashable
    tensors: list[Tensor]

    @classmethod
    def of(cls, state: Any) -> Leaves:
        """Those of a learner's state."""
        tensors: list[Tensor] = []
        return cls(_walked(state, tensors), tensors)


def _walked(state: Any, tensors: list[Tensor]) -> Hashable:
    if isinstance(state, Tensor):
        tensors.append(state)
        return state.shape, state.dtype
    parts = state.items() if isinstance(state, dict) else enumerate(state)
    return type(state), tuple((name, _walked(each, tensors)) for name, each in parts)


def stacked(states: Sequence[Leaves], like: Any, device: torch.device) -> Any:
    """States of equal shapes as one of the form of `like`, with a leading axis of tasks, on a device."""
    columns = zip(*(state.tensors for state in states), strict=True)
    return _formed(like, iter([_stacked(column, device) for column in columns]))


def _formed(like: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(like, Tensor):
        return next(tensors)
    if isinstance(like, dict):
        return {name: _formed(each, tensors) for name, each in like.items()}
    parts = [_formed(each, tensors) for each in like]
    if hasattr(like, "_fields"):
        return type(like)(*parts)
    return type(like)(parts)


def _stacked(column: tuple[Tensor, ...], device: torch.device) -> Tensor:
    if all(leaf.device == device for leaf in column):
        return torch.stack(column)
    return torch.stack([leaf.to(device) for leaf in column])


def on(state: Any, leaves: Leaves, device: torch.device) -> Any:
    """A state on a device; itself where it is there already."""
    if all(leaf.device == device for leaf in leaves.tensors):
        return state
    return tree.map_leaves(lambda leaf: leaf.to(device), state)


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
    if isinstance(said, Categorical):
        return Categorical(said.logits[:rows, :ways])
    if isinstance(said, Mixture) and ways is None:
        parts = tree.map_leaves(lambda leaf: leaf[:, :rows], said.parts)
        return said._replace(parts=parts)
    if isinstance(said, Mixture):
        # Members weigh otherwise once classes are left out, and not for every query alike: their mean is cut.
        return Categorical(_log_mean(said)[:rows, :ways])
    cut_rows: Prediction = tree.map_leaves(lambda leaf: leaf[:rows], said)
    return cut_rows


def among(said: Prediction, present: Bool[Tensor, " k"]) -> Categorical:
    """What is said of classes, those ruled out that are not present."""
    logits = said.logits if isinstance(said, Categorical) else _log_mean(said)
    return Categorical.among(present, logits)


def _log_mean(said: Prediction) -> Tensor:
    return said.mean.clamp(min=1e-30).log()
