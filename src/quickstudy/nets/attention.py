"""Attention by plain products: it maps over tasks, differentiates twice, and keeps what was read for later queries."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.errors import SettingsError

__all__ = ["Attention", "Block", "Memory", "Transformer", "attend", "begin_alike", "begin_as_nothing"]

NEVER = -1e9
"""The closeness of what may not be seen: e to it is 0, and unlike -inf its derivative is no NaN."""


class Memory(NamedTuple):
    """Keys and values of what can be attended to, by head. Leading axes of either may be left out, and broadcast."""

    keys: Float[Tensor, "*b h n e"]
    values: Float[Tensor, "*b h n v"]


def attend(queries: Float[Tensor, "*b h q e"], memory: Memory, seen: Bool[Tensor, "*s n"]) -> Float[Tensor, "*c h q v"]:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1).

    Args:
        queries: What asks, by head.
        memory: What answers.
        seen: Who may see what: [n] alike for all queries, or anything that broadcasts to [*b, h, q, n]. A query that
            sees nothing reads zero.
    """
    closeness = (queries / math.sqrt(queries.shape[-1])) @ memory.keys.transpose(-1, -2)
    if seen.ndim == 1:  # the same, with fewer passes over what is large
        weight = (closeness + torch.where(seen, 0.0, NEVER).to(closeness.dtype)).softmax(-1)
        return weight @ torch.where(seen[:, None], memory.values, 0.0)
    weight = torch.where(seen, closeness, NEVER).softmax(-1)
    return torch.where(seen, weight, 0.0) @ memory.values


class Attention(nn.Module):
    """Multi-head attention: linear maps to queries, keys and values, `attend`, and a linear map of all heads.

    Keys begin as queries do, so that what is alike is read most from the first step (compare Trockman and Kolter 2023,
    "Mimetic initialization of self-attention layers"). To find the example that a question resembles is what a learner
    in context has to come to; from unrelated maps it may take thousands of steps to begin to.

    Raises:
        SettingsError: `heads` does not divide `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise SettingsError(f"{heads} heads cannot share a width of {width}. Choose a width that heads divides.")
        self.heads = heads
        self.of_query, self.of_key, self.of_value, self.out = (nn.Linear(width, width) for _ in range(4))
        begin_alike(self.of_key, self.of_query)

    def memory(self, keys: Float[Tensor, "*b n d"], values: Float[Tensor, "*c n d"] | None = None) -> Memory:
        """What `forward` can attend to. Values are made of the same vectors as keys unless others are given."""
        return Memory(
            self._by_head(self.of_key(keys)), self._by_head(self.of_value(keys if values is None else values))
        )

    def forward(
        self, queries: Float[Tensor, "*b q d"], memory: Memory, seen: Bool[Tensor, "*s n"]
    ) -> Float[Tensor, "*c q d"]:
        read = attend(self._by_head(self.of_query(queries)), memory, seen)
        out: Tensor = self.out(read.transpose(-2, -3).flatten(-2))
        return out

    def _by_head(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b h n e"]:
        return x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads).transpose(-2, -3)


class Block(nn.Module):
    """A transformer's layer: attention and a perceptron, each added to what it reads and normalised (section 3.1).

    Args:
        width: Of each vector.
        heads: Of the attention.
        hidden: Width of the perceptron's one hidden layer.
        norm: Layer normalisation "after" each sum, as published, or "before" each of the two parts, as in GPT-2.
        activation: The perceptron's non-linearity.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        norm: Literal["before", "after"] = "after",
        activation: Literal["relu", "gelu"] = "relu",
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.perceptron = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU() if activation == "relu" else nn.GELU(), nn.Linear(hidden, width)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.before = norm == "before"

    def memory(self, x: Float[Tensor, "*b n d"]) -> Memory:
        """What `forward` can attend to, made of this layer's inputs."""
        return self.attention.memory(self.norms[0](x) if self.before else x)

    def forward(
        self, x: Float[Tensor, "*b q d"], memory: Memory, seen: Bool[Tensor, "*s n"]
    ) -> Float[Tensor, "*b q d"]:
        first, second = self.norms
        if self.before:
            x = x + self.attention(first(x), memory, seen)
            x = x + self.perceptron(second(x))
        else:
            x = first(x + self.attention(x, memory, seen))
            x = second(x + self.perceptron(x))
        return x


class Transformer(nn.Module):
    """Layers of which each attends to a set, or to what another pass remembered of one.

    `remember` passes a set through and keeps what each layer's attention can read. `forward` passes vectors that read
    that and not each other: what is asked of a task costs no second pass through its support.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        layers: int,
        *,
        norm: Literal["before", "after"] = "after",
        activation: Literal["relu", "gelu"] = "relu",
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [Block(width, heads, hidden, norm=norm, activation=activation) for _ in range(layers)]
        )

    def remember(self, x: Float[Tensor, "*b n d"], seen: Bool[Tensor, "*s n"]) -> tuple[Memory, ...]:
        """What each layer can read of a set whose members read each other, as far as `seen`."""
        memories = []
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            memories.append(block.memory(x))
            if number + 1 < len(self.blocks):  # what leaves the last layer nobody reads
                x = block(x, memories[-1], seen)
        return tuple(memories)

    def forward(
        self, x: Float[Tensor, "*b q d"], memories: tuple[Memory, ...], seen: Bool[Tensor, "*s n"]
    ) -> Float[Tensor, "*b q d"]:
        for block, memory in zip(self.blocks, memories, strict=True):
            x = block(x, memory, seen)
        return x


def begin_alike(of_key: nn.Linear, of_query: nn.Linear) -> None:
    """Let keys begin as queries do. They are learned apart."""
    of_key.load_state_dict(of_query.state_dict())


def begin_as_nothing(transformer: Transformer) -> None:
    """Let every layer start as doing nothing, as in the code of TabPFN (Hollmann et al. 2023)."""
    for block in transformer.blocks:
        assert isinstance(block, Block)
        for last in (block.attention.out, block.perceptron[-1]):
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
