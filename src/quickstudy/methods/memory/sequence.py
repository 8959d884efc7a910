"""What learners that read examples one after the other have in common.

A sequence is read with labels that come late: at each position the net says what it makes of an input before it is told
that input's label. So one pass over a sequence gives a prediction after every number of examples, all of which training
can score; and a query is one more position, read after the support, without a label to follow.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Episode, Examples, masked_mean
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import MethodError

__all__ = ["TAGS", "Read", "Scored", "SequenceLearner", "delayed", "drawn_order", "features"]

Scored = Literal["all", "query"]
"""What training scores: what is said at every position of support and query read as one sequence, or of each query
read after the whole support."""

LONGEST = 1024
"""Examples of the longest sequence that can be put in random order: so many numbers of chance a task are drawn."""

TAGS = Tags(
    any_ways=False,
    relabels=False,
    support_order=False,
    regression=True,
    vectors="flatten",
    exceptions={"learns (regression)": "200 steps at the check's rate only teach it the average wave"},
)
"""What nets that read examples in order promise."""


class Read(NamedTuple):
    """What a sequence learner knows of a task."""

    state: Any
    statistics: Statistics


class SequenceLearner(MetaLearner):
    """A net that reads examples one after the other, each label after its input; see the module's text.

    With scored="all", classes are read in random order, support and queries mixed: in the order of a source, which goes
    round the classes, a label could be told from the last. Normalised nets measure statistics on the support.
    """

    tags = TAGS

    def __init__(self, net: nn.Module, scored: Scored, kind: Likelihood) -> None:
        super().__init__()
        self.net = net
        self.scored, self.likelihood = scored, kind
        self.noise_size = LONGEST if scored == "all" and kind == "categorical" else 0

    @abstractmethod
    def read(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "n k"], mask: Bool[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n k"], Any]:
        """What is said of each input, knowing the examples before it; and the state after all of them."""

    @abstractmethod
    def ask(self, state: Any, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """What is said of each of these inputs if it comes next, alone."""

    def adapt(self, support: Examples, *noise: Tensor) -> Read:
        z, y, statistics = features(self.net, support)
        return Read(self.read(z, y, support.mask)[1], statistics)

    def predict(self, learner: Read, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        return likelihood(self.likelihood, self.ask(learner.state, z))

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        support, query = episode
        if self.scored == "query":
            return masked_mean(self.predict(self.adapt(support), query.x).nll(query.y), query.mask)
        said, targets = self.along(episode, *noise)
        return masked_mean(said.nll(targets.y), targets.mask)

    def along(self, episode: Episode, *noise: Tensor) -> tuple[Categorical | Gaussian, Examples]:
        """What is said at each position of support and query read as one sequence, and that sequence.

        Raises:
            MethodError: a sequence of classes is longer than can be put in random order.
        """
        whole = Examples(*(torch.cat(both) for both in zip(*episode, strict=True)))
        given = features(self.net, episode.support)
        asked = features(self.net, episode.query, given[2])
        z, y = torch.cat([given[0], asked[0]]), torch.cat([given[1], asked[1]])
        if noise:
            order = drawn_order(whole.mask, noise[0])
            z, y, whole = z[order], y[order], Examples(*(field[order] for field in whole))
        return likelihood(self.likelihood, self.read(z, y, whole.mask)[0]), whole


def features(
    net: nn.Module, examples: Examples, statistics: Statistics | None = None
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k"], Statistics]:
    """Features and labels, 0 where an example is padding; statistics are measured unless they are given."""
    z, statistics = apply(net, None, examples.x, mask=examples.mask, statistics=statistics)
    counted = examples.mask[:, None]
    return torch.where(counted, z, 0.0), torch.where(counted, examples.y.to(z.dtype), 0.0), statistics


def delayed(y: Float[Tensor, "n k"], mask: Bool[Tensor, " n"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, " k"]]:
    """For each position the label of the last example before it (0 if there is none); and the label after all."""
    # position 0 stands for no example, i + 1 for the i-th
    known = torch.cat([torch.zeros_like(y.sum(0, keepdim=True)), y])
    place = torch.arange(1, len(y) + 1, device=y.device)
    last = torch.cat([place.new_zeros(1), torch.where(mask, place, 0)]).cummax(0).values
    labels = known[last]
    return labels[:-1], labels[-1]


def drawn_order(mask: Bool[Tensor, " n"], noise: Float[Tensor, " size"]) -> Shaped[Tensor, " n"]:
    """A random order of the examples that count, the others behind them; the same however much padding there is.

    Raises:
        MethodError: there are more examples than numbers.
    """
    if len(mask) > len(noise):
        raise MethodError(
            f"a sequence of {len(mask)} examples is longer than the {len(noise)} that can be put in random order. "
            "Train on fewer shots and queries, or with scored='query'."
        )
    rank = (mask.long().cumsum(0) - 1).clamp(min=0)
    return torch.where(mask, noise[rank], torch.inf).argsort()
