"""A prior-fitted network that reads rows by what kernel machines say of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics
from quickstudy.core.apply import apply as run
from quickstudy.core.episode import Examples
from quickstudy.core.learner import Tags
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.memory import machines
from quickstudy.methods.memory.against_rest import AgainstRest, Scale, targets
from quickstudy.nets.attention import Memory, Transformer, begin_as_nothing

__all__ = ["KernelPFN", "Scored"]

PENALTIES = (0.03, 0.3, 3.0)
KERNELS = 3


class Scored(NamedTuple):
    """What is known of a table: the kernel machines' weights of its rows, and keys and values of rows, by class."""

    memories: tuple[Memory, ...]
    weights: Float[Tensor, "k s n"]
    """Of each row, for each class, kernel and penalty."""
    x: Float[Tensor, "n c"]
    ranks: Float[Tensor, "n c"]
    share: Float[Tensor, " k"]
    """Of each class among the rows."""
    mask: Bool[Tensor, " n"]
    statistics: Statistics


class KernelPFN(AgainstRest):
    """Stack kernel machines by a transformer that was fitted to a prior over tables (after Müller et al. 2022).

    Meta-learned: the transformer, and how rows enter and leave it.
    Adapts by: solving ridge regressions in closed form, and passing their scores of the training rows through the
    transformer, all rows attending to all; keys and values are kept.
    Scored by: the negative log-likelihood of each class against the rest, in each query row.

    Each row is described by what nine machines say of it: ridge regression of a class against the rest with a linear
    kernel, with a sum of one narrow kernel a column (an additive model, on ranks), and with one wide kernel of all
    columns; with three penalties each. Of a training row they say what they would without it (leave-one-out, in closed
    form), so that they are as sure of it as of a query: which machine is to be trusted, and how far, can be read off
    the training rows. That is what the network learns to do. It has far less to learn than one that reads cells, and
    a table costs it no more than its rows.

    Rows, columns and classes have no order, and there can be any number of each.

    Args:
        net: What rows are passed through before; "flatten" for numbers as they are.
        outputs: Not used: any number of classes can be told apart.
        width: Of a row.
        hidden: Of the perceptrons between attentions, and of the head.
        heads: Of each attention.
        layers: Of the transformer.
    """

    tags = Tags(vectors="flatten")

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        width: Size = 64,
        hidden: Size = 128,
        heads: Size = 4,
        layers: Size = 3,
    ) -> None:
        super().__init__()
        self.net = net
        self.of_scores, self.of_target = nn.Linear(KERNELS * len(PENALTIES) + 3, width), nn.Linear(1, width)
        self.transformer = Transformer(width, heads, hidden, layers, norm="before", activation="gelu")
        begin_as_nothing(self.transformer)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def read(self, support: Examples, y: Shaped[Tensor, "n k"]) -> Scored:
        x, statistics = run(self.net, None, support.x, mask=support.mask)
        scale = Scale(x, support.mask)
        target = targets(y, scale)
        ranks = scale.rank(scale.x)
        weights, scores = _machines(scale, ranks, target)
        share = (target > 0).to(x.dtype).sum(1) / scale.counted.sum().clamp(min=1)
        learner = Scored((), weights, scale.x, ranks, share, support.mask, statistics)
        rows = (self._rows(learner, scale, scores) + self.of_target(target[..., None])).to(x.dtype)
        return learner._replace(memories=self.transformer.remember(rows, support.mask))

    def ask(self, learner: Scored, x: Shaped[Tensor, "n *item"]) -> Float[Tensor, "k n"]:
        z, _ = run(self.net, None, x, statistics=learner.statistics)
        scale = Scale(learner.x, learner.mask)
        alike = _alike(scale, learner.ranks, z).repeat_interleave(len(PENALTIES), 0)
        scores = torch.einsum("smn,ksn->kms", alike, learner.weights)
        rows = self._rows(learner, scale, scores).to(z.dtype)
        out: Tensor = self.head(self.norm(self.transformer(rows, learner.memories, learner.mask)))
        return out.squeeze(-1).to(z.dtype)

    def _rows(self, learner: Scored, scale: Scale, scores: Float[Tensor, "k m s"]) -> Float[Tensor, "k m d"]:
        """Rows as vectors, by what is said of them and how large the table and the class are."""
        table = torch.cat([scale.size.expand(len(learner.share), 2), learner.share[:, None]], -1)
        table = table[:, None].expand(*scores.shape[:2], 3)
        out: Tensor = self.of_scores(torch.cat([2 * scores, table], -1))
        return out


def _machines(scale: Scale, ranks: Float[Tensor, "n c"], target: Float[Tensor, "k n"]) -> machines.Fitted:
    """The kernel machines of each target."""
    return machines.fitted(_alike(scale, ranks, scale.x), scale.mask, PENALTIES, target)


def _alike(scale: Scale, ranks: Float[Tensor, "n c"], x: Float[Tensor, "m c"]) -> Float[Tensor, "3 m n"]:
    """How alike rows are to the training rows, by each kernel; a constant in each stands for an intercept."""
    z, known, weight = scale.apart(x), scale.apart(scale.x), scale.alike
    (near,) = machines.additive(scale.rank(x), ranks, weight[None])
    return torch.stack([machines.linear(z, known, weight), near, machines.wide(z, known, weight)]) + 1.0
