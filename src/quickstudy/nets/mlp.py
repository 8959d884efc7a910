"""Nets for vectors: a multi-layer perceptron, and the net that is no net."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
from torch import nn

from quickstudy.core.settings import Size
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.nets.net import Net
from quickstudy.nets.norm import Normalisation, make_norm

__all__ = ["MLP", "Flatten"]

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class MLP(Net):
    """Fully connected layers; with hidden=(40, 40) the sine regressor of Finn et al. (2017).

    Args:
        item: Shape of one input; flattened.
        hidden: Width of each layer, the last being the features.
        activation: The non-linearity after every layer.
        norm: Where normalisation statistics come from.
        skip: Whether the input itself stands before the features of the last layer, so that inputs beyond those of
            training are still told apart where every unit has saturated.
    """

    def __init__(
        self,
        item: tuple[int, ...],
        *,
        hidden: tuple[Size, ...] = (40, 40),
        activation: Literal["relu", "tanh", "gelu"] = "relu",
        norm: Normalisation = "none",
        skip: bool = False,
    ) -> None:
        super().__init__()
        widths = [math.prod(item), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), make_norm(norm, fan_out), _ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers)
        self.skip = skip
        self.features = widths[-1] + skip * widths[0]

    def forward(self, x: Shaped[Tensor, "n *item"]) -> Float[Tensor, "n d"]:
        out: Tensor = self.layers(x)
        return torch.cat([x.flatten(1), out], 1) if self.skip else out


class Flatten(Net):
    """The raw input as features: what a learned net must beat.

    Args:
        item: Shape of one input.
    """

    def __init__(self, item: tuple[int, ...]) -> None:
        super().__init__()
        self.features = math.prod(item)

    def forward(self, x: Shaped[Tensor, "n *item"]) -> Float[Tensor, "n d"]:
        return x.flatten(1)
