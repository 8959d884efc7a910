"""Anything through any module of torch: a net of your own, or of another library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from quickstudy.core.shapes import Float, Tensor
from quickstudy.encoders.encoder import Encoder, Kind
from quickstudy.encoders.image import ImageEncoder
from quickstudy.encoders.vector import VectorEncoder
from quickstudy.errors import SettingsError

__all__ = ["ModuleEncoder"]


class ModuleEncoder(Encoder):
    """Pictures or arrays of numbers as the features that a module says, which stays as it is.

    It lives in Python alone: no name leads to the module, so a bundle cannot be saved with it.

    Args:
        net: From a batch [n, *takes] to features [n, ...]. It is used in evaluation mode, where its weights are.
        takes: The shape of one input.
        kind: What raw inputs are: arrays of the shape `takes` ("vector"), or pictures to be made so ("image").
        batch: Inputs that are encoded together.

    Raises:
        SettingsError: the module does not make features [1, ...] of an input of that shape.
    """

    def __init__(self, net: nn.Module, takes: Sequence[int], *, kind: Kind = "vector", batch: int = 64) -> None:
        if kind == "text":
            raise SettingsError("a module reads tensors, not text; expected kind 'vector' or 'image'.")
        self.net, self.takes, self.batch = net, tuple(takes), batch
        self.kind = kind  # type: ignore[misc]  # of this module, where other encoders have one for their class
        self._raw: Encoder = VectorEncoder(item=self.takes)
        if kind == "image":
            self._raw = ImageEncoder(item=cast(tuple[int, int, int], self.takes))  # which it checks
        self.item = self._of_nothing()

    def encode(self, raw: Sequence[Any]) -> Float[Tensor, "n *item"]:
        parts = [self._features(self._raw.encode(raw[at : at + self.batch])) for at in range(0, len(raw), self.batch)]
        return torch.cat(parts) if parts else torch.empty(0, *self.item)

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleEncoder:
        # scikit-learn copies what an estimator is made of for each fold; frozen weights may be shared.
        return self

    def _features(self, x: Float[Tensor, "n *takes"]) -> Float[Tensor, "n *item"]:
        weight = next(self.net.parameters(), None)
        was_training = self.net.training
        self.net.eval()
        try:
            with torch.no_grad():
                said: Tensor = self.net(x if weight is None else x.to(weight))
        finally:
            self.net.train(was_training)
        return said.float().cpu()

    def _of_nothing(self) -> tuple[int, ...]:
        try:
            said = self._features(torch.zeros(1, *self.takes))
        except (RuntimeError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise SettingsError(
                f"{type(self.net).__name__} fails on an input of shape {list(self.takes)}: {error} Expected a module "
                "from a batch of such inputs to one tensor of features."
            ) from error
        if said.ndim < 2 or len(said) != 1:
            raise SettingsError(
                f"{type(self.net).__name__} makes a tensor of shape {list(said.shape)} of a batch of one input; "
                "expected features [1, ...]."
            )
        return tuple(said.shape[1:])
