"""Recurrent nets that map over tasks (torch's own do not), and leave their state alone where an input is padding."""

from __future__ import annotations

import torch
from torch import nn

from quickstudy.core.shapes import Bool, Float, Tensor

__all__ = ["Cell", "Recurrent", "State"]

State = tuple[Tensor, Tensor]
"""What a layer of cells remembers: what they say (hidden) and what they hold (cell)."""


class Cell(nn.Module):
    """An LSTM cell (Hochreiter and Schmidhuber 1997), with gates in the order of torch's, whose own does not vmap."""

    def __init__(self, inputs: int, width: int, hidden: int | None = None) -> None:
        super().__init__()
        self.of_input = nn.Linear(inputs, 4 * width)
        self.of_hidden = nn.Linear(hidden or width, 4 * width, bias=False)

    def forward(self, x: Float[Tensor, "*n i"], state: State) -> State:
        """The next hidden and cell state."""
        return self.after(self.of_input(x), state)

    def after(self, read: Float[Tensor, "*n g"], state: State) -> State:
        """The next state, given what the gates make of the input: of a whole sequence that is one product."""
        hidden, cell = state
        entry, forget, new, out = (read + self.of_hidden(hidden)).chunk(4, dim=-1)
        cell = forget.sigmoid() * cell + entry.sigmoid() * new.tanh()
        return out.sigmoid() * cell.tanh(), cell


class Recurrent(nn.Module):
    """Layers of LSTM cells, of which each reads what the one below says.

    Forget gates start with a bias of 1, which keeps slopes alive over long sequences (Gers et al. 2000).

    Args:
        inputs: Numbers read at a time.
        width: Cells of each layer.
        layers: How many.
    """

    def __init__(self, inputs: int, width: int, layers: int = 1) -> None:
        super().__init__()
        self.cells = nn.ModuleList([Cell(width if layer else inputs, width) for layer in range(layers)])
        self.width = width
        with torch.no_grad():
            for cell in self._cells():
                cell.of_input.bias[width : 2 * width] += 1.0

    def start(self) -> tuple[State, ...]:
        """The state of each layer before anything is read: zeros, of [width] each."""
        zeros = [cell.of_input.weight.new_zeros(self.width) for cell in self._cells()]
        return tuple((each, each) for each in zeros)

    def forward(
        self, x: Float[Tensor, "n i"], mask: Bool[Tensor, " n"], states: tuple[State, ...]
    ) -> tuple[Float[Tensor, "n h"], tuple[State, ...]]:
        """What the last layer says after each input of a sequence, and the states after all of it."""
        after = []
        for cell, start in zip(self._cells(), states, strict=True):
            said, state = [], start
            for read, counts in zip(cell.of_input(x).unbind(), mask.unbind(), strict=True):
                new = cell.after(read, state)
                state = torch.where(counts, new[0], state[0]), torch.where(counts, new[1], state[1])
                said.append(new[0])
            after.append(state)
            x = torch.stack(said) if said else x.new_zeros(0, self.width)
        return x, tuple(after)

    def step(
        self, x: Float[Tensor, "n i"], states: tuple[State, ...]
    ) -> tuple[Float[Tensor, "n h"], tuple[State, ...]]:
        """What the last layer says of each of `n` inputs read next, all after the same states; their states [n, h]."""
        after = []
        for cell, (hidden, held) in zip(self._cells(), states, strict=True):
            state = cell(x, (hidden.expand(len(x), -1), held.expand(len(x), -1)))
            after.append(state)
            x = state[0]
        return x, tuple(after)

    def _cells(self) -> list[Cell]:
        return [cell for cell in self.cells if isinstance(cell, Cell)]
