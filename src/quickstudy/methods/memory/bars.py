"""Real values predicted by a histogram with tails: a distribution of any shape, from a classifier's outputs."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch

from quickstudy.core.shapes import Float, Tensor

__all__ = ["Bars", "normal_borders"]

MEDIAN = 0.67448975
"""The median of a half-normal variable of scale 1."""


class Bars(NamedTuple):
    """A piecewise constant density, its first and last bar half-normal outwards (Müller et al. 2022, "Riemann").

    `borders` [n, *out, b + 1], rising, are those of the bars. The first and the last bar have half of their probability
    within them and half beyond: their density is twice that of a normal centred on their inner border.
    """

    logits: Float[Tensor, "n *out b"]
    borders: Float[Tensor, "n *out c"]

    @property
    def metric(self) -> Literal["mse"]:
        return "mse"

    @property
    def mean(self) -> Float[Tensor, "n *out"]:
        middle = (self.borders[..., 1:] + self.borders[..., :-1]) / 2
        out = self._scales() * math.sqrt(2 / math.pi)
        first, last = self.borders[..., 1:2] - out[..., :1], self.borders[..., -2:-1] + out[..., 1:]
        found: Tensor = (self._p() * torch.cat([first, middle[..., 1:-1], last], -1)).sum(-1)
        return found

    def nll(self, y: Float[Tensor, "n *out"]) -> Float[Tensor, " n"]:
        y = y[..., None]
        widths = self.borders.diff(dim=-1)
        scales = self._scales()
        apart = torch.cat([self.borders[..., 1:2] - y, y - self.borders[..., -2:-1]], -1).clamp(min=0)
        tails = 0.5 * math.log(2 / math.pi) - scales.log() - 0.5 * (apart / scales).square()
        inner = -widths[..., 1:-1].log().expand(*y.shape[:-1], -1)
        log_p = self.logits.log_softmax(-1) + torch.cat([tails[..., :1], inner, tails[..., 1:]], -1)
        return -torch.where(self._holds(y), log_p, 0.0).flatten(1).sum(-1)

    def score(self, y: Float[Tensor, "n *out"]) -> Float[Tensor, " n"]:
        return (y - self.mean).square().flatten(1).mean(-1)

    def cdf(self, y: Float[Tensor, "n *out"]) -> Float[Tensor, "n *out"]:
        """The probability of each target below `y`."""
        y = y[..., None]
        scales = self._scales()
        below, above = torch.erf((y - self.borders[..., [1, -2]]) / (scales * math.sqrt(2))).unbind(-1)
        shares = ((y - self.borders[..., :-1]) / self.borders.diff(dim=-1)).clamp(0, 1)
        first, last = 1 + below.clamp(max=0), above.clamp(min=0)
        whole = torch.cat([first[..., None], shares[..., 1:-1], last[..., None]], -1)
        found: Tensor = (self._p() * whole).sum(-1)
        return found

    def quantile(self, p: float) -> Float[Tensor, "n *out"]:
        """The value below which each target lies with probability `p` (above 0, below 1)."""
        at = self._p().cumsum(-1)
        before = torch.cat([torch.zeros_like(at[..., :1]), at[..., :-1]], -1)
        # the first bar that reaches p, and the share of it that lies below
        holds = (at >= p) & (before < p)
        holds = holds & (holds.cumsum(-1) == 1)
        share = ((p - before) / self._p()).clamp(1e-6, 1 - 1e-6)
        inside = self.borders[..., :-1] + share * self.borders.diff(dim=-1)
        scales = self._scales()
        first = self.borders[..., 1] - scales[..., 0] * math.sqrt(2) * torch.erfinv(1 - share[..., 0])
        last = self.borders[..., -2] + scales[..., 1] * math.sqrt(2) * torch.erfinv(share[..., -1])
        values = torch.cat([first[..., None], inside[..., 1:-1], last[..., None]], -1)
        return torch.where(holds, values, 0.0).sum(-1)

    def tempered(self, temperature: float) -> Bars:
        """Flatter where it is above 1, within the same borders."""
        return self._replace(logits=self.logits / temperature)

    def _p(self) -> Float[Tensor, "n *out b"]:
        return self.logits.softmax(-1)

    def _scales(self) -> Float[Tensor, "n *out 2"]:
        """Of the two half-normal tails."""
        return self.borders.diff(dim=-1)[..., [0, -1]] / MEDIAN

    def _holds(self, y: Float[Tensor, "n *out 1"]) -> Tensor:
        inner = self.borders[..., 1:-1]
        above = torch.cat([torch.ones_like(y, dtype=torch.bool), y >= inner], -1)
        below = torch.cat([y < inner, torch.ones_like(y, dtype=torch.bool)], -1)
        return above & below


def normal_borders(bars: int, spread: float) -> Float[Tensor, " c"]:
    """Borders of bars that are equally likely for a normal of this standard deviation, in float64; the outer two where
    half of the outer bars' probability lies beyond them.

    Raises:
        ValueError: fewer than three bars.
    """
    if bars < 3:
        raise ValueError(f"a histogram with two tails has 3 bars or more, got {bars}.")
    shares = torch.arange(1, bars, dtype=torch.float64) / bars
    ends = torch.tensor([0.5 / bars, 1 - 0.5 / bars], dtype=torch.float64)
    borders: Tensor = torch.special.ndtri(torch.cat([ends[:1], shares, ends[1:]]))
    return spread * borders
