"""What neural processes are put together from: encoders of sets, and a decoder.

An encoder reads `c` functions known at `n` places. The places are the same for all of them, and so are the weights.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.precision import said_by
from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.nets.attention import Attention, Block, Memory

__all__ = [
    "AttentivePath",
    "Decoder",
    "LatentEncoder",
    "MeanPath",
    "NoPath",
    "Normal",
    "Path",
    "SetEncoder",
    "make_path",
    "perceptron",
]

Code = tuple[Tensor, ...]
"""What a path learns of a task."""


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers of these widths, with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class SetEncoder(nn.Module):
    """A perceptron of each example, their mean, and a perceptron of that (Zaheer et al. 2017, "deep sets").

    Args:
        features: Numbers of a place.
        values: Numbers of a value.
        width: Of every layer.
        out: Numbers that come out; `width` unless told.
        heads: Of an attention of the examples to each other, before the mean; 0 for none.
        own: Whether the mean is over the examples alone at which a function is not 0: those of a class.
    """

    def __init__(
        self, features: int, values: int, width: int, *, out: int | None = None, heads: int = 0, own: bool = False
    ) -> None:
        super().__init__()
        self.own = own
        self.of_each = _of_each(features + values, width, attentive=heads > 0)
        self.attention = Block(width, heads, width) if heads else None
        self.of_all = perceptron(width, width, out or width)

    def forward(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "c n v"], mask: Bool[Tensor, " n"]
    ) -> Float[Tensor, "c w"]:
        h = _related(self.of_each(_beside(x, y)), self.attention, mask)
        counted = (mask & (y != 0).any(-1) if self.own else mask.expand(len(y), -1))[..., None]
        mean = torch.where(counted, h, 0.0).sum(-2) / counted.sum(-2).clamp(min=1)
        return said_by(self.of_all, mean)


class Path(nn.Module, ABC):
    """A way from the support to the decoder: `encode` makes a code, `read` says what of it matters at a place."""

    width: int
    """How many numbers `read` gives."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "n d"], y: Float[Tensor, "c n v"], mask: Bool[Tensor, " n"]) -> Code:
        """What is to be remembered of a task."""

    @abstractmethod
    def read(self, code: Code, x: Float[Tensor, "q d"]) -> Float[Tensor, "c q w"]:
        """What each function's decoder is told at these places."""


class NoPath(Path):
    """Tells nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 0

    def encode(self, x: Float[Tensor, "n d"], y: Float[Tensor, "c n v"], mask: Bool[Tensor, " n"]) -> Code:
        return (y.new_zeros(len(y), 0),)

    def read(self, code: Code, x: Float[Tensor, "q d"]) -> Float[Tensor, "c q w"]:
        return code[0][:, None].expand(-1, len(x), -1)


class MeanPath(Path):
    """Tells the same of every place: the set as one vector."""

    def __init__(self, features: int, values: int, width: int, *, own: bool = False) -> None:
        super().__init__()
        self.encoder = SetEncoder(features, values, width, own=own)
        self.width = width

    def encode(self, x: Float[Tensor, "n d"], y: Float[Tensor, "c n v"], mask: Bool[Tensor, " n"]) -> Code:
        return (self.encoder(x, y, mask),)

    def read(self, code: Code, x: Float[Tensor, "q d"]) -> Float[Tensor, "c q w"]:
        return code[0][:, None].expand(-1, len(x), -1)


class AttentivePath(Path):
    """Tells of each place what the examples near it say, by attention (Kim et al. 2019).

    Keys are made of places alone; the examples that values are made of attend to each other first.
    """

    def __init__(self, features: int, values: int, width: int, heads: int) -> None:
        super().__init__()
        self.of_place = perceptron(features, width, width)
        self.of_each = _of_each(features + values, width, attentive=True)
        self.related = Block(width, heads, width)
        self.attention = Attention(width, heads)
        self.width = width

    def encode(self, x: Float[Tensor, "n d"], y: Float[Tensor, "c n v"], mask: Bool[Tensor, " n"]) -> Code:
        h = _related(self.of_each(_beside(x, y)), self.related, mask)
        return (*self.attention.memory(self.of_place(x), h), mask)

    def read(self, code: Code, x: Float[Tensor, "q d"]) -> Float[Tensor, "c q w"]:
        keys, values, mask = code
        read: Tensor = self.attention(self.of_place(x), Memory(keys, values), mask)
        return read


def make_path(
    kind: Literal["none", "mean", "attention"], features: int, values: int, width: int, heads: int, *, own: bool = False
) -> Path:
    """The path of this name."""
    if kind == "none":
        return NoPath()
    if kind == "mean":
        return MeanPath(features, values, width, own=own)
    return AttentivePath(features, values, width, heads)


class Normal(NamedTuple):
    """Where the latent code of each function is drawn from."""

    mean: Float[Tensor, "c z"]
    std: Float[Tensor, "c z"]


class LatentEncoder(nn.Module):
    """A set as a normal distribution of codes. Deviations stay between 0.1 and 1, as in the published code."""

    def __init__(
        self, features: int, values: int, width: int, latent: int, heads: int = 0, *, own: bool = False
    ) -> None:
        super().__init__()
        self.encoder = SetEncoder(features, values, width, out=2 * latent, heads=heads, own=own)

    def forward(self, x: Float[Tensor, "n d"], y: Float[Tensor, "c n v"], mask: Bool[Tensor, " n"]) -> Normal:
        mean, spread = self.encoder(x, y, mask).chunk(2, dim=-1)
        return Normal(mean, 0.1 + 0.9 * spread.sigmoid())


class Decoder(nn.Module):
    """A perceptron of a place and what is told of it.

    Args:
        features: Numbers of a place.
        told: Numbers that are told.
        width: Of every layer.
        layers: How many there are, the last included.
        out: Numbers that come out.
    """

    def __init__(self, features: int, told: int, width: int, layers: int, out: int) -> None:
        super().__init__()
        self.layers = perceptron(features + told, *(width,) * (layers - 1), out)

    def forward(self, x: Float[Tensor, "q d"], told: Float[Tensor, "*m c q w"]) -> Float[Tensor, "*m c q s"]:
        return said_by(self.layers, torch.cat([x.expand(*told.shape[:-1], -1), told], dim=-1))


def _of_each(inputs: int, width: int, attentive: bool) -> nn.Sequential:
    """Four layers for an example alone, or two before it attends to others: as many as in the published code."""
    return (
        nn.Sequential(perceptron(inputs, width, width), nn.ReLU()) if attentive else perceptron(inputs, *(width,) * 4)
    )


def _related(h: Float[Tensor, "c n w"], block: Block | None, mask: Bool[Tensor, " n"]) -> Float[Tensor, "c n w"]:
    """Vectors of examples that have attended to each other, if there is an attention."""
    if block is None:
        return h
    related: Tensor = block(h, block.memory(h), mask)
    return related


def _beside(x: Float[Tensor, "n d"], y: Float[Tensor, "c n v"]) -> Float[Tensor, "c n e"]:
    return torch.cat([x.expand(len(y), -1, -1), y], dim=-1)
