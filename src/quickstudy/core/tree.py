"""Trees of tensors: the tuples, NamedTuples, lists and dicts in which episodes, learners and parameters live.

The one place that touches torch's own tree utilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch.utils import _pytree

from quickstudy.core.shapes import Tensor

__all__ = ["flatten", "leaves", "map_leaves", "stack", "unflatten", "unstack"]

Tree = TypeVar("Tree")


def map_leaves(fn: Callable[..., Any], first: Tree, *rest: Tree) -> Tree:
    """The tree of `fn` of every leaf (and of the leaves in the same place of the other trees)."""
    mapped: Tree = _pytree.tree_map(fn, first, *rest)
    return mapped


def flatten(values: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree and what is needed to put them back with `unflatten`."""
    return _pytree.tree_flatten(values)


def unflatten(flat: Sequence[Any], spec: Any) -> Any:
    """The tree that `flatten` took apart."""
    return _pytree.tree_unflatten(list(flat), spec)


def leaves(values: Any) -> list[Any]:
    """The leaves of a tree, in order."""
    return _pytree.tree_leaves(values)


def stack(trees: Sequence[Tree]) -> Tree:
    """Trees of one shape as one tree with a leading axis."""
    return map_leaves(lambda *each: torch.stack(each), trees[0], *trees[1:])


def unstack(values: Tree) -> list[Tree]:
    """A tree with a leading axis as the list of its slices (views)."""
    count = len(leaves(values)[0])

    def take(i: int) -> Tree:
        def at(leaf: Tensor) -> Tensor:
            return leaf[i]

        return map_leaves(at, values)

    return [take(i) for i in range(count)]
