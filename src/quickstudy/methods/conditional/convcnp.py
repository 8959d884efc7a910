"""Convolutional conditional neural processes on a line."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import MetaLearner, Tags
from quickstudy.core.predictions import Gaussian, Likelihood
from quickstudy.core.settings import Count, Fraction, Rate, Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import SettingsError
from quickstudy.methods.conditional import functions
from quickstudy.methods.conditional.functions import Scored

__all__ = ["ConvCNP", "OnGrid"]

EMPTY = 1e-8
"""A density below which there are no examples to take a mean of, as in the published code."""


class OnGrid(NamedTuple):
    """What a convolutional process learns of a task: features along a grid, and where its middle lies."""

    features: Float[Tensor, "g d"]
    middle: Float[Tensor, ""]


class ConvCNP(MetaLearner):
    """Smooth the support onto a grid, convolve, and read values off anywhere (Gordon et al. 2020, "ConvCNP").

    Meta-learned: the widths of the smoothing kernels and the convolutional net.
    Adapts by: density and mean value of the support around each cell of a grid (equation 2, algorithm 1), and
    convolutions of these; the support is then no longer needed.
    Scored by: the negative log-likelihood of what is read off for support and query.

    Moving all inputs moves the predictions and changes nothing else, so tasks elsewhere on the line need no training.
    For that the grid lies around the middle of the support, and not around the queries, which must not influence each
    other; a place beyond its ends reads what is at the end. The net is a U-net, as the paper's larger one: levels of
    convolutions with stride 2, then back with the outputs of each level beside.

    Args:
        item: Shape of one input; one number.
        outputs: The number of real values to predict.
        density: Cells of the grid by unit of the line. The paper's 64 costs twice the time.
        span: Units that the grid covers: enough for it to reach every query from the middle of the support.
        width: Channels of the convolutions.
        levels: How often the U-net halves the grid.
        kernel: Cells that a convolution reads; odd.
        floor: The least standard deviation. The published code has none; with 0.01 a deviation cannot reach zero.
        scored: Whether the loss is about values of support and query, or of the query alone.
        likelihood: "gaussian": it learns real values only.
    """

    tags = Tags(classification=False, regression=True, item=(1,))

    def __init__(
        self,
        item: tuple[int, ...],
        outputs: int,
        *,
        density: Size = 32,
        span: Rate = 16.0,
        width: Size = 32,
        levels: Count = 4,
        kernel: Size = 5,
        floor: Fraction = 0.01,
        scored: Scored = "all",
        likelihood: Likelihood = "gaussian",
    ) -> None:
        super().__init__()
        if math.prod(item) != 1 or likelihood != "gaussian":
            raise SettingsError(
                f"convcnp learns real values at places on a line, got items of shape {tuple(item)} and likelihood "
                f"{likelihood!r}. Choose tasks such as gp or sines, or another method."
            )
        if kernel % 2 == 0:
            raise SettingsError(f"kernel is {kernel}; expected an odd number of cells, so that one is in the middle.")
        cells = math.ceil(span * density / 2**levels) * 2**levels
        self.offsets: Tensor
        self.register_buffer("offsets", (torch.arange(cells) - (cells - 1) / 2) / density, persistent=False)
        self.log_smoothing = nn.Parameter(torch.tensor(2.0 / density).log())
        self.log_reading = nn.Parameter(torch.tensor(2.0 / density).log())
        self.net = _UNet(outputs + 1, width, levels, kernel)
        self.head = nn.Linear(width, 2 * outputs)
        self.floor, self.scored = floor, scored

    def meta_loss(self, episode: Episode, *noise: Tensor) -> Float[Tensor, ""]:
        targets = functions.scored(episode, "gaussian", self.scored)
        return functions.mean_nll(self.predict(self.adapt(episode.support), targets.x), targets)

    def adapt(self, support: Examples, *noise: Tensor) -> OnGrid:
        x = torch.where(support.mask, support.x.flatten(), 0.0)
        y = torch.where(support.mask[:, None], support.y, 0.0)
        middle = _middle(x, support.mask)
        near = _closeness(self.offsets[:, None] - (x - middle), self.log_smoothing)
        near = torch.where(support.mask, near, 0.0)
        density = near.sum(1, keepdim=True)
        channels = torch.cat([density, near @ y / (density + EMPTY)], dim=1)
        return OnGrid(self.net(channels.T[None])[0].T, middle)

    def predict(self, learner: OnGrid, x: Shaped[Tensor, "n *item"]) -> Gaussian:
        ends = self.offsets[0], self.offsets[-1]
        place = (x.flatten() - learner.middle).clamp(*ends)
        near = _closeness(place[:, None] - self.offsets, self.log_reading)
        read = near @ learner.features / near.sum(1, keepdim=True)
        mean, spread = self.head(read).chunk(2, dim=-1)
        return Gaussian(mean, functions.deviation(spread, self.floor))


def _closeness(apart: Tensor, log_width: Tensor) -> Tensor:
    return torch.exp(-0.5 * (apart / log_width.exp()).square())


def _middle(x: Float[Tensor, " n"], mask: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Half way between the ends of the examples; zero where there are none."""
    if not len(x):
        return x.new_zeros(())
    ends = torch.where(mask, x, torch.inf).amin() + torch.where(mask, x, -torch.inf).amax()
    return torch.where(mask.any(), ends / 2, 0.0)


class _UNet(nn.Module):
    def __init__(self, channels: int, width: int, levels: int, kernel: int) -> None:
        super().__init__()
        pad = kernel // 2
        self.first = nn.Conv1d(channels, width, kernel, padding=pad)
        self.down = nn.ModuleList([nn.Conv1d(width, width, kernel, stride=2, padding=pad) for _ in range(levels)])
        self.up = nn.ModuleList([nn.Conv1d(2 * width, width, kernel, padding=pad) for _ in range(levels)])
        self.last = nn.Conv1d(width, width, kernel, padding=pad)

    def forward(self, x: Float[Tensor, "n c g"]) -> Float[Tensor, "n d g"]:
        x = F.relu(self.first(x))
        passed = []
        for conv in self.down:
            passed.append(x)
            x = F.relu(conv(x))
        for conv, beside in zip(self.up, reversed(passed), strict=True):
            x = F.relu(conv(torch.cat([x.repeat_interleave(2, dim=-1), beside], dim=1)))
        out: Tensor = F.relu(self.last(x))
        return out
