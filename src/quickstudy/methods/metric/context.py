"""Full-context embeddings: each support example embedded in view of the others, each query in view of the support."""

from __future__ import annotations

import torch
from torch import nn

from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.nets.recurrent import Cell

__all__ = ["QueryContext", "SupportContext"]

FAR = 1e30
"""The length given to padding, so that it comes last in order."""


class SupportContext(nn.Module):
    """A bidirectional LSTM over the support, added to its embeddings (Vinyals et al. 2016, appendix A.2).

    The paper leaves the order open. Here it is that of the embeddings' lengths, the shortest first, so that neither the
    order in which examples come nor what their classes are called has a say. Padding is passed over.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.there = Cell(features, features)
        self.back = Cell(features, features)

    def forward(self, z: Float[Tensor, "n d"], mask: Bool[Tensor, " n"]) -> Float[Tensor, "n d"]:
        order = torch.where(mask, z.detach().square().sum(-1), FAR).argsort()
        at, counted = z[order], mask[order]
        there = _run(self.there, at, counted)
        back = _run(self.back, at.flip(0), counted.flip(0)).flip(0)
        return z + (there + back)[order.argsort()]


class QueryContext(nn.Module):
    """An LSTM that reads the support by attention before it says what a query is (the same, appendix A.1).

    At each of `reads` steps it takes the query's embedding, its own state, and the mean of the support weighted by a
    softmax of products with that state. Each query is read for alone.
    """

    def __init__(self, features: int, reads: int) -> None:
        super().__init__()
        self.cell = Cell(features, features, hidden=2 * features)
        self.reads = reads

    def forward(
        self, z: Float[Tensor, "q d"], keys: Float[Tensor, "n d"], counted: Bool[Tensor, " n"]
    ) -> Float[Tensor, "q d"]:
        hidden, cell = z, torch.zeros_like(z)
        for _ in range(self.reads):
            attention = torch.where(counted, hidden @ keys.T, -FAR).softmax(-1)
            out, cell = self.cell(z, (torch.cat([hidden, attention @ keys], -1), cell))
            hidden = out + z
        return hidden


def _run(cell: Cell, z: Float[Tensor, "n d"], counted: Bool[Tensor, " n"]) -> Float[Tensor, "n d"]:
    """The hidden state at each example, those that do not count leaving it as it was."""
    state = torch.zeros_like(z[0]), torch.zeros_like(z[0])
    said = []
    for each, counts in zip(z.unbind(), counted.unbind(), strict=True):
        new = cell(each, state)
        state = torch.where(counts, new[0], state[0]), torch.where(counts, new[1], state[1])
        said.append(state[0])
    return torch.stack(said)
