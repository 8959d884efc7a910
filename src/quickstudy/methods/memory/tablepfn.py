"""A prior-fitted network for tables."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics
from quickstudy.core.apply import apply as run
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.nets.attention import Memory
from quickstudy.nets.crossed import CrossedTransformer

__all__ = ["Table", "TablePFN"]

LEAST = 1e-30
"""Of a column's variance, so that nothing is divided by 0."""


class Table(NamedTuple):
    """What is known of a table: keys and values of its cells by layer, for each class; and what scales its columns."""

    memories: tuple[Memory, ...]
    size: Float[Tensor, "2"]
    """Logarithms of the numbers of rows and of columns."""
    x: Float[Tensor, "n c"]
    """The training rows, by which values of a column are ranked."""
    mask: Bool[Tensor, " n"]
    used: Bool[Tensor, " c"]
    """Which columns hold more than one value."""
    statistics: Statistics


class TablePFN(MetaLearner):
    """A transformer over the cells of a table, fitted to a prior over tables (Hollmann et al. 2025, "TabPFN").

    Meta-learned: the transformer, and how cells enter it.
    Adapts by: passing the training rows through, all attending to all; keys and values are kept.
    Scored by: the negative log-likelihood of each class against the rest, in each query row.

    A cell is the value's place in its column: how far from the column's mean, by its deviation, and its rank among the
    training rows. A further column holds the target, which query rows do not know. Layers attend down the columns (to
    training rows alone) and along the rows, in turn; the target's cell of a query is what it is told by. Columns have
    no order, so any number of them can be read, and those with one value are left out.

    Each class is told from the rest by a pass of its own, and their probabilities are scaled to add up to one; so
    classes have no order either, and there can be any number. (TabPFN reads up to ten classes in one pass, and learns
    to treat them alike.) Of two classes training takes one pass, for the second.

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

    def adapt(self, support: Examples, *noise: Tensor) -> Table:
        return self._read(support, support.y)

    def predict(self, learner: Table, x: Shaped[Tensor, "n *item"]) -> Categorical:
        return Categorical(F.logsigmoid(self._ask(learner, x)).T)

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        support, query = episode
        first = 1 if support.y.shape[1] == 2 else 0  # of two classes either says all
        said = self._ask(self._read(support, support.y[:, first:]), query.x)
        truth = query.y[:, first:].to(said.dtype).T
        each = F.binary_cross_entropy_with_logits(said, truth, reduction="none").sum(0)
        return masked_mean(each, query.mask)

    def _read(self, support: Examples, y: Shaped[Tensor, "n k"]) -> Table:
        x, statistics = run(self.net, None, support.x, mask=support.mask)
        counted = support.mask.to(x.dtype)
        x = torch.where(support.mask[:, None], x, 0.0)
        most, least = (torch.where(support.mask[:, None], s * x, -torch.inf).amax(0) for s in (1, -1))
        used = most > -least
        size = torch.stack([counted.sum(), used.sum().to(x.dtype)]).clamp(min=1).log()
        table = Table((), size, x, support.mask, used, statistics)
        target = torch.where(support.mask[:, None], 2 * y.to(x.dtype) - 1, 0.0).T[..., None]
        cells = self._cells(table, x) + self.of_label(target)[..., None, :]
        told = self.of_target(target) + self.of_size(size / 5)
        rows = torch.cat([told[..., None, :], cells], -2).to(x.dtype)
        memories = self.transformer.remember(rows, support.mask, _and_target(used))
        return table._replace(memories=memories)

    def _ask(self, table: Table, x: Shaped[Tensor, "n *item"]) -> Float[Tensor, "k n"]:
        z, _ = run(self.net, None, x, statistics=table.statistics)
        cells = self._cells(table, z)
        told = (self.unknown + self.of_size(table.size / 5)).expand(len(z), 1, -1)
        rows = torch.cat([told, cells], -2).to(z.dtype)
        out: Tensor = self.head(self.transformer(rows, table.memories, table.mask, _and_target(table.used)))
        return out.squeeze(-1).to(z.dtype)

    def _cells(self, table: Table, x: Float[Tensor, "m c"]) -> Float[Tensor, "m c d"]:
        """Cells as vectors, by their distance from the column's mean and by their rank in it."""
        counted = table.mask.to(x.dtype)
        mean, variance = _moments(table.x, counted)
        apart = torch.asinh((x - mean) / variance.clamp(min=LEAST).sqrt())
        known, asked = table.x[None], x[:, None]
        below = (known < asked).to(x.dtype) + 0.5 * (known == asked).to(x.dtype)
        rank = (below * counted[:, None]).sum(1) / counted.sum().clamp(min=1)
        both = torch.stack([apart, 3 * (rank - 0.5)], -1)
        out: Tensor = self.of_value(torch.where(table.used[:, None], both, 0.0))
        return out


def _moments(x: Float[Tensor, "n c"], counted: Float[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    """The mean and the variance of each column, over the rows that count."""
    number = counted.sum().clamp(min=1)
    mean = (counted[:, None] * x).sum(0) / number
    return mean, (counted[:, None] * (x - mean).square()).sum(0) / number


def _and_target(used: Bool[Tensor, " c"]) -> Bool[Tensor, " d"]:
    """The columns that count, after the target's, which always does."""
    return torch.cat([torch.ones_like(used[:1]), used])
