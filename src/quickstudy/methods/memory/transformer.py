"""Learners that are what a transformer has read: its keys and values."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.predictions import Likelihood
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.memory.sequence import Scored, SequenceLearner, delayed
from quickstudy.nets.attention import Block, Memory
from quickstudy.nets.net import width_of

__all__ = ["Context", "InContext"]

Tokens = Literal["alternate", "delayed", "pairs"]


class Context(NamedTuple):
    """What a transformer knows after its examples: keys and values by layer, how many examples, and the last label."""

    memories: tuple[Memory, ...]
    seen: Bool[Tensor, " m"]
    number: Shaped[Tensor, ""]
    label: Float[Tensor, " k"]


class Sequence(NamedTuple):
    """Examples as tokens: first those that ask for labels, one an example; the last `kept` tokens are remembered."""

    tokens: Float[Tensor, "m w"]
    sees: Bool[Tensor, "m m"]
    kept: int


class InContext(SequenceLearner):
    """Let a causal transformer read the examples: what it learns is in what it attends to (Garg et al. 2022).

    Meta-learned: the net, the transformer, and linear maps into and out of it.
    Adapts by: one pass of the support through causal self-attention; keys and values of each layer are kept.
    Scored by: what it says of each query, or of every input before it is told the label ("all", as published).

    A query attends to what is kept and to itself. Layers are those of GPT-2: normalised before, GELU. Positions enter
    as sines (Vaswani et al. 2017, section 3.5) where the papers learn a vector for each: there is no longest sequence,
    but those longer than in training are as foreign to it.

    Args:
        net: What inputs are embedded by; "flatten" for inputs as they are.
        outputs: Ways, or the number of real values to predict.
        tokens: How examples are laid out. "alternate": a token for each input, one for its label, and so on (Garg et
            al.). "delayed": one token for an input and the label before it (GPICL, Kirsch et al. 2022). "pairs": one
            token for an input with its label, which questions of single inputs attend to (as von Oswald et al. 2023).
        width: Of a token.
        heads: Of each attention.
        layers: Of the transformer. The default, 3 of width 64, is the smallest of Garg et al.; their largest has 12 of
            width 256.
        scored: What training scores: each "query" after the support, or "all" positions of support and query read as
            one sequence. With classes the former learns in fewer steps.
        likelihood: What is predicted: "categorical" classes or "gaussian" values.
    """

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        tokens: Tokens = "alternate",
        width: Size = 64,
        heads: Size = 2,
        layers: Size = 3,
        scored: Scored = "query",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__(net, scored, likelihood)
        self.tokens, self.width = tokens, width
        self.of_input, self.of_label = nn.Linear(width_of(net), width), nn.Linear(outputs, width)
        self.blocks = nn.ModuleList(
            [Block(width, heads, 4 * width, norm="before", activation="gelu") for _ in range(layers)]
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def read(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "n k"], mask: Bool[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n k"], Context]:
        before, last = delayed(y, mask)
        x, sees, kept = self._laid_out(z, y, before, mask)
        memories = []
        for block in self._blocks():
            memory = block.memory(x)
            x = block(x, memory, sees)
            memories.append(Memory(*(part[:, len(x) - kept :] for part in memory)))
        seen = torch.cat([mask, mask]) if kept > len(mask) else mask
        return self.head(self.norm(x[: len(z)])), Context(tuple(memories), seen, mask.sum(), last)

    def ask(self, state: Context, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        x = self._questions(z, state.label.expand(len(z), -1), state.number)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        sees = torch.cat([state.seen.expand(len(z), -1), itself], 1)
        for block, memory in zip(self._blocks(), state.memories, strict=True):
            own = block.memory(x)
            both = Memory(torch.cat([memory.keys, own.keys], 1), torch.cat([memory.values, own.values], 1))
            x = block(x, both, sees)
        out: Tensor = self.head(self.norm(x))
        return out

    def _laid_out(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "n k"], before: Float[Tensor, "n k"], mask: Bool[Tensor, " n"]
    ) -> Sequence:
        place = mask.long().cumsum(0) - mask.long()
        questions = self._questions(z, before, place)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        earlier = torch.ones_like(itself).tril(-1) & mask
        upto = earlier | itself
        if self.tokens == "delayed":
            return Sequence(questions, upto, len(z))
        known = self.of_label(y)
        if self.tokens == "pairs":
            sees = [torch.cat([itself, earlier], 1), torch.cat([torch.zeros_like(itself), upto], 1)]
            return Sequence(torch.cat([questions, known + self.of_input(z)]), torch.cat(sees), len(z))
        sees = [torch.cat([upto, earlier], 1), torch.cat([upto, upto], 1)]
        return Sequence(torch.cat([questions, known + _sines(2 * place + 1, known)]), torch.cat(sees), 2 * len(z))

    def _questions(
        self, z: Float[Tensor, "n d"], before: Float[Tensor, "n k"], place: Shaped[Tensor, "*n"]
    ) -> Float[Tensor, "n w"]:
        """The tokens that ask for labels, at their places. Pairs have none: they are told apart by what they hold."""
        x: Tensor = self.of_input(z)
        if self.tokens == "delayed":
            x = x + self.of_label(before)
            return x + _sines(place, x)
        return x + _sines(2 * place, x) if self.tokens == "alternate" else x

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]


def _sines(place: Shaped[Tensor, "*n"], like: Float[Tensor, "m w"]) -> Float[Tensor, "*n w"]:
    """Sines and cosines of places, at wavelengths from 2π to 20,000π, for tokens such as `like`."""
    width = like.shape[-1]
    rates = torch.exp(torch.arange(-(-width // 2), device=like.device) * (-math.log(1e4) / -(-width // 2)))
    angles = place[..., None] * rates.to(like.dtype)
    return torch.cat([angles.sin(), angles.cos()], -1)[..., :width]
