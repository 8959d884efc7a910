"""A task is data with two named halves: the support that a learner adapts to, and the query that scores it."""

from __future__ import annotations

from typing import NamedTuple

import torch

from quickstudy.core import tree
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import TaskError

__all__ = ["Episode", "Examples", "check_episodes", "masked_mean", "to_device"]


class Examples(NamedTuple):
    """Labelled examples of one task. With a leading axis of tasks on every field it is a batch of them.

    `y` is one-hot (bool) for classification, so that the number of ways is a shape; it is float for regression.
    `mask` is False where an example is only padding: it must not influence anything.
    """

    x: Shaped[Tensor, "n *item"]
    y: Shaped[Tensor, "n *out"]
    mask: Bool[Tensor, "n"]


class Episode(NamedTuple):
    """One task: `adapt` sees the support, the query asks how well it went."""

    support: Examples
    query: Examples


def masked_mean(values: Float[Tensor, " n"], mask: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """The mean of `values` over the examples that are not padding; 0 where all are."""
    # `where`, for padding may hold infinite values: a label without support costs that much, and 0 · ∞ is NaN.
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def to_device(episodes: Episode, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Episode:
    """Episodes on `device`, floating point in `dtype`; images held as uint8 become fractions of 255 only there."""

    def move(leaf: Tensor) -> Tensor:
        leaf = leaf.to(device, non_blocking=True)
        return leaf.to(dtype) if leaf.is_floating_point() else leaf

    def fractions(part: Examples) -> Examples:
        return part._replace(x=part.x.to(dtype) / 255) if part.x.dtype == torch.uint8 else part

    moved = tree.map_leaves(move, episodes)
    return Episode(fractions(moved.support), fractions(moved.query))


def check_episodes(episodes: Episode, origin: str) -> None:
    """Raise `TaskError` unless a batch of episodes keeps the promises that every method relies on.

    Called by task sources (the carriers themselves are plain tuples, so that they stack and map as they are).
    """
    for part_name, part in zip(Episode._fields, episodes, strict=True):
        if part.mask.dtype != torch.bool or part.mask.ndim != 2:
            raise TaskError(
                f"{origin}: the {part_name} mask is {part.mask.dtype} of shape {tuple(part.mask.shape)}; expected bool "
                "[tasks, examples]. Use torch.ones(tasks, examples, dtype=torch.bool) where nothing is padding."
            )
        for field in ("x", "y"):
            got = getattr(part, field).shape[:2]
            if got != part.mask.shape:
                raise TaskError(
                    f"{origin}: {part_name}.{field} starts with axes {tuple(got)}; expected [tasks, examples] = "
                    f"{tuple(part.mask.shape)} as its mask has."
                )
            values = getattr(part, field)
            if values.is_floating_point() and not torch.isfinite(values).all():
                raise TaskError(f"{origin}: {part_name}.{field} holds NaN or infinite values. Clean the data first.")
    if episodes.support.y.shape[2:] != episodes.query.y.shape[2:]:
        raise TaskError(
            f"{origin}: support and query labels have shapes {tuple(episodes.support.y.shape[2:])} and "
            f"{tuple(episodes.query.y.shape[2:])} an example; both halves of an episode have the same ways or outputs."
        )
