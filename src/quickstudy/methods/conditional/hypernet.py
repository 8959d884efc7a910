"""A net that writes the weights of another."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.conditional import functions
from quickstudy.methods.conditional.encoders import SetEncoder
from quickstudy.nets.film import Modulation, modulated, places
from quickstudy.nets.net import width_of

__all__ = ["HyperNet", "Written"]

Writes = Literal["head", "low-rank", "film"]


class Written(NamedTuple):
    """What is written of a task: the head's rows with their biases, and what else changes."""

    head: Float[Tensor, "k e"]
    change: tuple[Tensor, ...]
    modulation: Modulation
    present: Bool[Tensor, " k"]
    statistics: Statistics


class HyperNet(QueryScored):
    """Let one net write the weights of another from the support (Ha et al. 2017; Bertinetto et al. 2016, "learnets").

    Meta-learned: the net, the set encoder, and the layers that write.
    Adapts by: encoding the support as one vector for each class (for real values: one), and writing from it that
    class's row of the head, in full; from the vectors' mean what else changes.
    Scored by: the query's negative log-likelihood under the written weights.

    What is written starts with the variance that suits what reads it, 1 / fan-in (Chang et al. 2020, "hyperfan-in");
    changes of shared weights start at none. The encoder reads the net's own features beside the targets, each class
    as a function that is 1 at its examples, so that one instance takes any number of classes.

    Args:
        net: The features; a written head is put on them.
        outputs: Ways, or the number of real values to predict.
        writes: What changes with the task: the "head" alone; also a hidden layer under it, by a product of "low-rank"
            matrices; or also scale and shift of the net's own layers ("film").
        rank: Columns of the matrices of a low-rank change.
        hidden: Width of the hidden layer that it changes.
        width: Of the set encoder.
        heads: Of an attention of the examples to each other; 0 for none.
        likelihood: What the outputs mean: "categorical" logits or "gaussian" values.
    """

    tags = Tags(
        regression=True,
        exceptions={"learns (regression)": "200 steps of the check only teach it the average wave"},
    )

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        writes: Writes = "head",
        rank: Size = 4,
        hidden: Size = 64,
        width: Size = 128,
        heads: Literal[0, 1, 2, 4, 8] = 0,
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        features = width_of(net)
        self.rows = functions.values_of(likelihood, outputs)
        self.net = net
        self.encoder = SetEncoder(features, self.rows, width, heads=heads, own=likelihood == "categorical")
        self.norm = nn.LayerNorm(width)  # so that what is written has the variance that it starts with
        self.hidden = nn.Linear(features, hidden) if writes == "low-rank" else None
        self.left = _writer(width, hidden * rank) if writes == "low-rank" else None
        self.right = _writer(width, features * rank, fan_in=features) if writes == "low-rank" else None
        self.places = places(net) if writes == "film" else {}
        self.films = nn.ModuleList(_writer(width, 2 * channels) for channels in self.places.values())
        self.read = hidden if writes == "low-rank" else features
        self.weights = _writer(width, self.rows * self.read, fan_in=self.read)
        self.biases = _writer(width, self.rows)
        self.rank, self.likelihood = rank, likelihood

    def adapt(self, support: Examples, *noise: Tensor) -> Written:
        x, statistics = apply(self.net, None, support.x, mask=support.mask)
        x = torch.where(support.mask[:, None], x, 0.0)
        y = functions.as_functions(support, self.likelihood, x.dtype)
        present = functions.known(support, self.likelihood)
        codes = self.norm(self.encoder(x, y, support.mask))
        head = torch.cat([self.weights(codes).view(-1, self.read), self.biases(codes).view(-1, 1)], dim=1)
        spoken = present if self.likelihood == "categorical" else present[:1]
        code = torch.where(spoken[:, None], codes, 0.0).sum(0) / spoken.sum().clamp(min=1)
        change, modulation = self._change(code), self._modulation(code)
        if modulation:
            _, statistics = apply(self.net, modulated(self.net, modulation), support.x, mask=support.mask)
        return Written(head, change, modulation, present, statistics)

    def predict(self, learner: Written, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        z, _ = apply(self.net, modulated(self.net, learner.modulation), x, statistics=learner.statistics)
        if self.hidden is not None:
            left, right = learner.change
            z = F.relu(self.hidden(z) + z @ right @ left)
        said = F.linear(z, learner.head[:, :-1], learner.head[:, -1])
        # A class without support has no row, and is never predicted.
        return likelihood(self.likelihood, torch.where(learner.present, said, -torch.inf))

    def _change(self, code: Float[Tensor, " w"]) -> tuple[Tensor, ...]:
        """The two matrices whose product is added to the hidden layer's weights."""
        if self.left is None or self.right is None:
            return ()
        return self.left(code).view(self.rank, -1), self.right(code).view(-1, self.rank)

    def _modulation(self, code: Float[Tensor, " w"]) -> Modulation:
        found: Modulation = {}
        for name, film in zip(self.places, self.films, strict=True):
            scale, shift = film(code).chunk(2)
            found[name] = scale, shift
        return found


def _writer(width: int, numbers: int, fan_in: int | None = None) -> nn.Linear:
    """A layer that writes numbers of variance 1 / `fan_in` from codes of variance 1; zeros where that is None."""
    layer = nn.Linear(width, numbers)
    nn.init.zeros_(layer.bias)
    if fan_in is None:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=1 / math.sqrt(width * fan_in))
    return layer
