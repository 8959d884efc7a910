"""Attention over a table of vectors: down its columns, then along its rows."""

from __future__ import annotations

import torch
from torch import nn

from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.nets.attention import Attention, Memory

__all__ = ["Crossed", "CrossedTransformer"]


class Crossed(nn.Module):
    """A layer over a table of vectors: each cell attends to its column, then to its row, then to itself alone.

    Each of the three parts (two attentions, a perceptron) is added to what it reads, which is normalised before. All
    three begin as doing nothing.

    Args:
        width: Of each cell's vector.
        heads: Of each attention.
        hidden: Width of the perceptron's one hidden layer.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.down, self.along = Attention(width, heads), Attention(width, heads)
        last = nn.Linear(hidden, width)
        self.perceptron = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), last)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        for layer in (self.down.out, self.along.out, last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def memory(self, x: Float[Tensor, "*b n c d"]) -> Memory:
        """What cells of other rows can attend to, by column: keys and values [*b, c, heads, n, e]."""
        return self.down.memory(self.norms[0](x).transpose(-2, -3))

    def forward(
        self,
        x: Float[Tensor, "*b m c d"],
        memory: Memory,
        seen: Bool[Tensor, " n"],
        used: Bool[Tensor, " c"],
        *,
        first: bool = False,
    ) -> Float[Tensor, "*a m k d"]:
        """The cells `x` after this layer; with `first`, those of the first column alone.

        Args:
            x: Cells of `m` rows and `c` columns.
            memory: Of the rows that they may attend to, down their columns.
            seen: Which of those rows count.
            used: Which columns count.
            first: Whether only the first column is asked for.
        """
        x = x + self.down(self.norms[0](x).transpose(-2, -3), memory, seen).transpose(-2, -3)
        z = self.norms[1](x)
        memory = self.along.memory(z)
        if first:
            x, z = x[..., :1, :], z[..., :1, :]
        x = x + self.along(z, memory, used)
        out: Tensor = x + self.perceptron(self.norms[2](x))
        return out


class CrossedTransformer(nn.Module):
    """Layers over a table of which some rows are read once, and others ask what was remembered of them.

    As `Transformer`, with tables in place of sets: `remember` passes rows through that attend to each other, `forward`
    passes rows that attend to those and to themselves, not to each other.
    """

    def __init__(self, width: int, heads: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Crossed(width, heads, hidden) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def remember(
        self, x: Float[Tensor, "*b n c d"], seen: Bool[Tensor, " n"], used: Bool[Tensor, " c"]
    ) -> tuple[Memory, ...]:
        """What each layer can read of rows that read each other."""
        memories = []
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Crossed)
            memories.append(block.memory(x))
            if number + 1 < len(self.blocks):  # what leaves the last layer nobody reads
                x = block(x, memories[-1], seen, used)
        return tuple(memories)

    def forward(
        self,
        x: Float[Tensor, "*b m c d"],
        memories: tuple[Memory, ...],
        seen: Bool[Tensor, " n"],
        used: Bool[Tensor, " c"],
    ) -> Float[Tensor, "*a m d"]:
        """The first cell of each row after all layers, normalised."""
        for number, (block, memory) in enumerate(zip(self.blocks, memories, strict=True)):
            x = block(x, memory, seen, used, first=number + 1 == len(memories))
        out: Tensor = self.norm(torch.squeeze(x, -2))
        return out
