"""Prior-fitted networks."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field
from torch import nn

from quickstudy.core.apply import Statistics
from quickstudy.core.apply import apply as run
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.predictions import Categorical, Likelihood
from quickstudy.core.settings import Rate, Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.memory.bars import Bars, normal_borders
from quickstudy.methods.memory.sequence import features
from quickstudy.nets.attention import Memory, Transformer, begin_as_nothing
from quickstudy.nets.net import width_of

__all__ = ["PFN", "Rows"]


class Rows(NamedTuple):
    """What a prior-fitted network knows of a data set: keys and values of its rows, by layer."""

    memories: tuple[Memory, ...]
    mask: Bool[Tensor, " n"]
    statistics: Statistics


class PFN(QueryScored):
    """A transformer over the rows of a data set, fitted to a prior over data sets (Müller et al. 2022, "PFN").

    Meta-learned: the transformer, and what rows enter and leave it by.
    Adapts by: passing the training rows through, all attending to all; keys and values are kept.
    Scored by: the negative log-likelihood of each query; what minimises it on average is the posterior of the prior
    that tasks are drawn from (corollary 1.1).

    A training row is the sum of a linear map of its input and one of its target; a query the former alone, which
    attends to the training rows. There are no positions: the order of rows does not matter. Every layer starts as
    doing nothing, as in the code of TabPFN (Hollmann et al. 2023).

    Args:
        net: What inputs are embedded by; "flatten" for rows of numbers as they are.
        outputs: Ways, or the number of real values to predict.
        bars: Of the histogram that predicts a real value. The paper has up to 1,000.
        spread: Standard deviation of targets under the prior: all bars are as likely if they are normal.
        width: Of a row. The default, with 4 layers, is a size for a CPU; TabPFN has 12 layers of width 512.
        hidden: Of the perceptrons between attentions, and of the head.
        heads: Of each attention.
        layers: Of the transformer.
        likelihood: What is predicted: "categorical" classes or "gaussian" values (by bars).
    """

    tags = Tags(
        any_ways=False,
        relabels=False,
        regression=True,
        vectors="flatten",
        exceptions={"learns": "its training needs a smaller rate and more steps than the check's 200"},
    )

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        bars: Annotated[int, Field(ge=3)] = 100,
        spread: Rate = 1.0,
        width: Size = 64,
        hidden: Size = 128,
        heads: Size = 4,
        layers: Size = 4,
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net, self.outputs, self.likelihood = net, outputs, likelihood
        self.of_input, self.of_target = nn.Linear(width_of(net), width), nn.Linear(outputs, width)
        self.transformer = Transformer(width, heads, hidden, layers, activation="gelu")
        begin_as_nothing(self.transformer)
        numbers = outputs if likelihood == "categorical" else outputs * bars
        self.head = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, numbers))
        borders = normal_borders(bars, spread).to(self.of_input.weight.dtype)
        self.borders: Float[Tensor, " c"]
        self.register_buffer("borders", borders, persistent=False)

    def adapt(self, support: Examples, *noise: Tensor) -> Rows:
        z, y, statistics = features(self.net, support)
        rows = self.of_input(z) + self.of_target(y)
        return Rows(self.transformer.remember(rows, support.mask), support.mask, statistics)

    def predict(self, learner: Rows, x: Shaped[Tensor, "n *item"]) -> Categorical | Bars:
        z, _ = run(self.net, None, x, statistics=learner.statistics)
        numbers = self.head(self.transformer(self.of_input(z), learner.memories, learner.mask))
        if self.likelihood == "categorical":
            return Categorical(numbers)
        numbers = numbers.view(len(z), self.outputs, -1)
        return Bars(numbers, self.borders.to(numbers.dtype).expand(len(z), self.outputs, -1))
