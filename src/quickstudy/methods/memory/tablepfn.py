"""A prior-fitted network that reads tables cell by cell."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics
from quickstudy.core.apply import apply as run
from quickstudy.core.episode import Examples
from quickstudy.core.learner import Tags
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.memory.against_rest import AgainstRest, Scale, targets
from quickstudy.nets.attention import Memory
from quickstudy.nets.crossed import CrossedTransformer

__all__ = ["Table", "TablePFN"]


class Table(NamedTuple):
    """What is known of a table: keys and values of its cells by layer, for each class; and what scales its columns."""

    memories: tuple[Memory, ...]
    x: Float[Tensor, "n c"]
    """The training rows, by which values of a column are ranked."""
    mask: Bool[Tensor, " n"]
    statistics: Statistics


class TablePFN(AgainstRest):
    """A transformer over the cells of a table, fitted to a prior over tables (Hollmann et al. 2025, "TabPFN").

    Meta-learned: the transformer, and how cells enter it.
    Adapts by: passing the training rows through, all attending to all; keys and values are kept.
    Scored by: the negative log-likelihood of each class against the rest, in each query row.

    A cell is the value's place in its column: how far from the column's mean, by its deviation, and its rank among the
    training rows. A further column holds the target, which query rows do not know. Layers attend down the columns (to
    training rows alone) and along the rows, in turn; the target's cell of a query is what it is told by. Columns have
    no order, so any number of them can be read, and those with one value are left out. Nor have classes, of which each
    is told from the rest by a pass of its own; TabPFN reads up to ten in one pass, and learns to treat them alike.

    Args:
        net: What rows are passed through before; "flatten" for numbers as they are.
        outputs: Not used: any number of classes can be told apart.
        width: Of a cell. The default, with 4 layers, is a size for a CPU; TabPFN has 12 layers of width 192.
        hidden: Of the perceptrons between attentions, and of the head.
        heads: Of each attention.
        layers: Of the transformer.
    """

    tags = Tags(
        vectors="flatten",
        exceptions={"learns": "its training needs a smaller rate and more steps than the check's 200"},
    )

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        width: Size = 64,
        hidden: Size = 128,
        heads: Size = 4,
        layers: Size = 4,
    ) -> None:
        super().__init__()
        self.net = net
        self.of_value = nn.Sequential(nn.Linear(2, width), nn.GELU(), nn.Linear(width, width))
        self.of_label, self.of_target = nn.Linear(1, width), nn.Linear(1, width)
        self.of_size = nn.Linear(2, width)
        self.unknown = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.transformer = CrossedTransformer(width, heads, hidden, layers)
        self.head = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def read(self, support: Examples, y: Shaped[Tensor, "n k"]) -> Table:
        x, statistics = run(self.net, None, support.x, mask=support.mask)
        scale = Scale(x, support.mask)
        target = targets(y, scale)[..., None]
        cells = self._cells(scale, scale.x) + self.of_label(target)[..., None, :]
        told = self.of_target(target) + self._size(scale)
        rows = torch.cat([told[..., None, :], cells], -2).to(x.dtype)
        memories = self.transformer.remember(rows, support.mask, _and_target(scale.used))
        return Table(memories, scale.x, support.mask, statistics)

    def ask(self, learner: Table, x: Shaped[Tensor, "n *item"]) -> Float[Tensor, "k n"]:
        z, _ = run(self.net, None, x, statistics=learner.statistics)
        scale = Scale(learner.x, learner.mask)
        told = (self.unknown + self._size(scale)).expand(len(z), 1, -1)
        rows = torch.cat([told, self._cells(scale, z)], -2).to(z.dtype)
        out: Tensor = self.head(self.transformer(rows, learner.memories, learner.mask, _and_target(scale.used)))
        return out.squeeze(-1).to(z.dtype)

    def _size(self, scale: Scale) -> Float[Tensor, " d"]:
        """How many rows and columns there are, as a vector."""
        out: Tensor = self.of_size(scale.size)
        return out

    def _cells(self, scale: Scale, x: Float[Tensor, "m c"]) -> Float[Tensor, "m c d"]:
        out: Tensor = self.of_value(torch.stack([scale.apart(x), 3 * (scale.rank(x) - 0.5)], -1))
        return out


def _and_target(used: Bool[Tensor, " c"]) -> Bool[Tensor, " d"]:
    """The columns that count, after the target's, which always does."""
    return torch.cat([torch.ones_like(used[:1]), used])
