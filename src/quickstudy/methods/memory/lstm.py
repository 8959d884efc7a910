"""Learners that are the state of a recurrent net."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.predictions import Likelihood
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.methods.memory.sequence import Scored, SequenceLearner, delayed
from quickstudy.nets.net import width_of
from quickstudy.nets.recurrent import Recurrent, State

__all__ = ["LSTM", "Known"]


class Known(NamedTuple):
    """What an LSTM knows after its examples: the state of each layer, and the last label, not yet read."""

    states: tuple[State, ...]
    label: Float[Tensor, " k"]


class LSTM(SequenceLearner):
    """Let an LSTM read the examples: what it learns is its state (Hochreiter et al. 2001).

    Meta-learned: the net, the LSTM and a linear map of what it says.
    Adapts by: reading the support, each input together with the label of the one before it.
    Scored by: what it says of each query, or at every position before it is told the label ("all", as published).

    With pool="mean" (Huisman et al. 2023) it reads each example and its label alone, all from the same state, and goes
    on with the mean of the states: the order of the support does not matter. It does so several times, and then reads
    each query, flagged as such; training scores the queries alone, whatever `scored` says.

    Args:
        net: What inputs are embedded by; "flatten" for inputs as they are.
        outputs: Ways, or the number of real values to predict.
        pool: Whether the state after the support is the "last" of a sequence or the "mean" over its examples.
        passes: Over the support where the states are pooled.
        width: Cells of each layer.
        layers: Of cells.
        scored: What training scores: each "query" after the support, or "all" positions of support and query read as
            one sequence. With classes the former learns in fewer steps.
        likelihood: What is predicted: "categorical" classes or "gaussian" values.
    """

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        pool: Literal["last", "mean"] = "last",
        passes: Size = 4,
        width: Size = 64,
        layers: Size = 1,
        scored: Scored = "query",
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__(net, scored if pool == "last" else "query", likelihood)
        self.pool, self.passes = pool, passes
        self.recurrent = Recurrent(width_of(net) + outputs + (pool == "mean"), width, layers)
        self.head = nn.Linear(width, outputs)

    def read(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "n k"], mask: Bool[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n k"], Known]:
        if self.pool == "mean":
            return torch.zeros_like(y), self._pooled(z, y, mask)
        before, last = delayed(y, mask)
        said, states = self.recurrent(torch.cat([z, before], 1), mask, self.recurrent.start())
        return self.head(said), Known(states, last)

    def ask(self, state: Known, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        label = state.label.expand(len(z), -1)
        asked = [z, label] if self.pool == "last" else [z, torch.zeros_like(label), torch.ones_like(z[:, :1])]
        said, _ = self.recurrent.step(torch.cat(asked, 1), state.states)
        out: Tensor = self.head(said)
        return out

    def _pooled(self, z: Float[Tensor, "n d"], y: Float[Tensor, "n k"], mask: Bool[Tensor, " n"]) -> Known:
        weight = mask[:, None] / mask.sum().clamp(min=1).to(z.dtype)
        examples = torch.cat([z, y, torch.zeros_like(z[:, :1])], 1)
        states = self.recurrent.start()
        for _ in range(self.passes):
            _, each = self.recurrent.step(examples, states)
            states = tuple(((weight * said).sum(0), (weight * held).sum(0)) for said, held in each)
        return Known(states, torch.zeros_like(y).sum(0))
