"""Learners that are an external memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core import tree
from quickstudy.core.predictions import Likelihood
from quickstudy.core.settings import Fraction, Size
from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.errors import SettingsError
from quickstudy.methods.memory.sequence import Scored, SequenceLearner, delayed
from quickstudy.nets.net import width_of
from quickstudy.nets.recurrent import Cell, State

__all__ = ["MANN", "Held"]

LARGER = 4.0
"""Than usual: the weights that inputs enter by and those of the keys, at the start. Keys that tell inputs apart, rather
than what came before them, are what binding is learned from; otherwise hundreds of steps may teach nothing."""
TINY = 1e-8
"""Added to the product of two squared lengths: an empty slot then has cosine 0 with every key."""


class Held(NamedTuple):
    """What a memory-augmented net holds between two inputs; before queries with the last label, not yet read."""

    controller: State
    memory: Float[Tensor, "*n m d"]
    usage: Float[Tensor, "*n m"]
    weights: Float[Tensor, "*n h m"]
    read: Float[Tensor, "*n r"]


class MANN(SequenceLearner):
    """Write examples into an external memory, and find them there again (Santoro et al. 2016).

    Meta-learned: the net, the controller that says what to write and to look for, and the head.
    Adapts by: reading the support, each input with the label of the one before it; every task starts from an empty
    memory. A slot is written to if it was the last read, or used least and longest ago (sections 3.1 and 3.2).
    Scored by: what is said of every input before its label is known ("all", as published), or of each query.

    At each step every head writes the key by which it then reads. In the published equations all heads write to the
    same n least used slots; here each has one of these, the first head that used least, so that they do not all hold
    the sum of all keys. Of a query the net makes its writings in a copy of the memory: others do not see them.

    Args:
        net: What inputs are embedded by; "flatten" for inputs as they are.
        outputs: Ways, or the number of real values to predict.
        slots: Of the memory.
        size: Numbers of a slot.
        heads: How many keys are written, and read by, in each step.
        width: Cells of the controller.
        decay: What is left of a slot's usage after a step.
        strength: Cosines are multiplied by this before they become weights. The paper's is 1, with which no slot
            of 128 can weigh more than 5.5%.
        scored: What training scores: "all" positions of support and query read as one sequence, or each "query" after
            the support.
        likelihood: What is predicted: "categorical" classes or "gaussian" values.

    Raises:
        SettingsError: there are more heads than slots.
    """

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        slots: Size = 128,
        size: Size = 40,
        heads: Size = 4,
        width: Size = 200,
        decay: Fraction = 0.95,
        strength: float = 10.0,
        scored: Scored = "all",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__(net, scored, likelihood)
        if heads > slots:
            raise SettingsError(f"{heads} heads write to as many slots at once, but there are {slots}. Lower heads.")
        self.cell = Cell(width_of(net) + outputs, width, hidden=width + heads * size)
        self.keys = nn.Linear(width, heads * size)
        self.gates = nn.Linear(width, heads)
        self.head = nn.Linear(width + heads * size, outputs)
        with torch.no_grad():
            self.cell.of_input.weight.mul_(LARGER)
            self.keys.weight.mul_(LARGER)
            self.keys.bias.zero_()
        self.slots, self.size, self.heads, self.width = slots, size, heads, width
        self.decay, self.strength = decay, strength

    def read(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "n k"], mask: Bool[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n k"], tuple[Held, Float[Tensor, " k"]]]:
        before, last = delayed(y, mask)
        entering = self.cell.of_input(torch.cat([z, before], 1))
        held, said = self._empty(), []
        for each, counts in zip(entering.unbind(), mask.unbind(), strict=True):
            new = self._step(each, held)
            said.append(torch.cat([new.controller[0], new.read]))
            kept = [torch.where(counts, a, b) for a, b in zip(tree.leaves(new), tree.leaves(held), strict=True)]
            held = tree.unflatten(kept, tree.flatten(held)[1])
        out = self.head(torch.stack(said)) if said else torch.zeros_like(y)
        return out, (held, last)

    def ask(self, state: tuple[Held, Float[Tensor, " k"]], z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        held, label = state
        entering = self.cell.of_input(torch.cat([z, label.expand(len(z), -1)], 1))
        each = tree.map_leaves(lambda leaf: leaf.expand(len(z), *leaf.shape), held)
        new = self._step(entering, each)
        out: Tensor = self.head(torch.cat([new.controller[0], new.read], -1))
        return out

    def _empty(self) -> Held:
        def zeros(*shape: int) -> Tensor:
            return self.keys.weight.new_zeros(shape)

        # Slots that nothing was written to yet are taken in turn.
        turn = torch.arange(self.slots, device=self.keys.weight.device) * (1e-3 / self.slots)
        return Held(
            (zeros(self.width), zeros(self.width)),
            zeros(self.slots, self.size),
            turn.to(self.keys.weight.dtype),
            zeros(self.heads, self.slots),
            zeros(self.heads * self.size),
        )

    def _step(self, entering: Float[Tensor, "*n g"], held: Held) -> Held:
        hidden, cell = held.controller
        controller = self.cell.after(entering, (torch.cat([hidden, held.read], -1), cell))
        keys = self.keys(controller[0]).unflatten(-1, (self.heads, self.size)).tanh()
        gate = self.gates(controller[0])[..., None].sigmoid()
        least = _least_used(held.usage, self.heads).to(keys.dtype)
        writing = gate * held.weights + (1 - gate) * least
        cleared = held.memory * (1 - least.sum(-2))[..., None]
        memory = cleared + writing.transpose(-1, -2) @ keys
        weights = (self.strength * _cosine(keys, memory)).softmax(-1)
        usage = self.decay * held.usage + weights.sum(-2) + writing.sum(-2)
        return Held(controller, memory, usage, weights, (weights @ memory).flatten(-2))


def _least_used(usage: Float[Tensor, "*n m"], count: int) -> Bool[Tensor, "*n count m"]:
    """Which slot is used least, second least and so on, one in each row."""
    slots = usage.shape[-1]
    return usage.argsort(-1)[..., :count, None] == torch.arange(slots, device=usage.device)


def _cosine(keys: Float[Tensor, "*n h d"], memory: Float[Tensor, "*n m d"]) -> Float[Tensor, "*n h m"]:
    lengths = keys.square().sum(-1)[..., None] * memory.square().sum(-1)[..., None, :]
    return (keys @ memory.transpose(-1, -2)) * (lengths + TINY).rsqrt()
