"""Normalisation as an explicit choice, with no query ever influencing another's prediction unless one asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import nn

from quickstudy.core.apply import Moments, Tape, current_tape
from quickstudy.core.precision import at_least_single, in_own_precision
from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.errors import SettingsError

__all__ = [
    "Norm",
    "Normalisation",
    "PopulationNorm",
    "gathering",
    "make_norm",
    "measure",
    "normalisation",
    "shares",
]

Normalisation = Literal["support", "population", "transductive", "group", "none"]
"""Where a net's normalisation statistics come from.

- support: per channel, measured on the task's support, and used for its queries too (the default);
- population: per channel, as with "support" in training, and averages of the training tasks' ever after: a support of
  few examples says little of how channels vary (what ordinary batch normalisation does when it is evaluated);
- transductive: per channel, of whatever batch is at hand, so queries see each other (MAML's published batch norm);
- group: of each example alone, over groups of channels;
- none: nothing is normalised.
"""

EPSILON = 1e-5
LEAST = 0.02
"""How much the newest moments count in those of the population, at least: averages forget after some 50."""

_gathering: ContextVar[bool] = ContextVar("gathering", default=False)


@contextmanager
def gathering() -> Iterator[None]:
    """Have `PopulationNorm` layers that are trained take what they measure into the moments of the population.

    Nothing is gathered inside a transform of `torch.func`: mapped moments could not leave it.
    """
    token = _gathering.set(True)
    try:
        yield
    finally:
        _gathering.reset(token)


class Norm(nn.Module):
    """Batch normalisation whose statistics are passed through `core.apply`, never stored (Ioffe and Szegedy 2015).

    Normalises each of `channels` channels of [n, d] or [n, d, *space], then scales and shifts it by learned numbers.
    """

    def __init__(self, channels: int, *, transductive: bool = False) -> None:
        super().__init__()
        self.transductive = transductive
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "n d *space"]) -> Float[Tensor, "n d *space"]:
        moments = self.given()
        if moments is None:
            moments = self.measured(measure(x, self.mask))
        scale, shift = self.scale_and_shift(moments)
        # One multiply-add over the maps: element-wise passes cost as much as the convolutions here.
        space = (-1,) + (1,) * (x.ndim - 2)
        return torch.addcmul(shift.to(x.dtype).view(space), x, scale.to(x.dtype).view(space))

    # A net that knows how its maps came about may normalise them for less than `forward`, by what follows.

    @property
    def mask(self) -> Bool[Tensor, " n"] | None:
        """Which examples count when moments are measured; None means all."""
        tape = self._tape()
        return None if tape is None else tape.mask

    def given(self) -> Moments | None:
        """The moments to normalise with, or None where they are to be measured."""
        tape = self._tape()
        moments = None if tape is None else tape.take()
        return None if moments is None else self.measured(moments)

    def measured(self, moments: Moments) -> Moments:
        """Record the moments that this layer normalises with."""
        tape = self._tape()
        if tape is not None:
            tape.measured.append(moments)
        return moments

    def scale_and_shift(self, moments: Moments) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Normalising as one multiply-add: x · scale + shift."""
        scale = self.weight * torch.rsqrt(moments.variance + EPSILON)
        return scale, self.bias - moments.mean * scale

    def _tape(self) -> Tape | None:
        return None if self.transductive else current_tape()

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, transductive={self.transductive}"


class PopulationNorm(Norm):
    """`Norm` that, once it is evaluated, takes the moments of all that it was shown in training.

    They are averages of the mean and of the mean square of what was measured under `gathering`. Before it was shown
    anything, as in a net of random features, it goes by the support.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.mean: Tensor
        self.square: Tensor
        self.gathered: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("square", torch.ones(channels))
        self.register_buffer("gathered", torch.zeros(()))

    def given(self) -> Moments | None:
        moments = super().given()
        if self.training or not self.gathered:
            return moments
        population = Moments(self.mean, (self.square - self.mean.square()).clamp(min=0))
        return self.measured(population) if moments is None else population

    def measured(self, moments: Moments) -> Moments:
        if self.training and _gathering.get() and not torch._C._are_functorch_transforms_active():
            with torch.no_grad():
                self.gathered += 1
                share = (1 / self.gathered).clamp(min=LEAST)
                self.mean.lerp_(moments.mean.to(self.mean.dtype), share)
                self.square.lerp_((moments.variance + moments.mean.square()).to(self.square.dtype), share)
        return super().measured(moments)


def measure(x: Float[Tensor, "n d *space"], mask: Bool[Tensor, " n"] | None) -> Moments:
    """The moments of each channel over the examples that `mask` admits and over space."""
    places = x.movedim(1, -1).flatten(1, -2) if x.ndim > 2 else x[:, None]
    rows = at_least_single(places.flatten(0, 1))
    share = shares(mask, places)
    # Sums as products with the shares: the quickest form to differentiate twice, and to map.
    with in_own_precision(rows):
        mean = share @ rows
        return Moments(mean, share @ (rows - mean).square())


def shares(mask: Bool[Tensor, " n"] | None, places: Float[Tensor, "n p d"]) -> Float[Tensor, " n*p"]:
    """How much each place of each example counts in a mean over the examples that `mask` admits."""
    n, each, _ = places.shape
    dtype = torch.promote_types(places.dtype, torch.float32)
    if mask is None:
        return torch.full((n * each,), 1 / (n * each), dtype=dtype, device=places.device)
    counted = mask.to(dtype)
    share = counted / (counted.sum().clamp(min=1) * each)
    return share[:, None].expand(n, each).flatten()


def make_norm(policy: Normalisation, channels: int, groups: int = 8) -> nn.Module:
    """The layer that carries out a normalisation policy."""
    match policy:
        case "support":
            return Norm(channels)
        case "population":
            return PopulationNorm(channels)
        case "transductive":
            return Norm(channels, transductive=True)
        case "group":
            # At least two channels a group: alone on a map of one pixel, a channel would be normalised to nothing.
            most = max(1, min(groups, channels // 2))
            return _GroupNorm(next(g for g in range(most, 0, -1) if channels % g == 0), channels)
        case "none":
            return nn.Identity()
    raise SettingsError(f"no normalisation {policy!r}. Known: support, population, transductive, group, none.")


class _GroupNorm(nn.GroupNorm):
    """torch's, which under `vmap` refuses the maps that a convolution with channels last leaves."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim <= 3 or not torch._C._are_functorch_transforms_active():
            return super().forward(x)
        return super().forward(x.flatten(2)).view_as(x)


def normalisation(net: nn.Module) -> str:
    """What every record states of a net: a `Normalisation`, "layer", or "running".

    "running" stands for torch's own batch normalisation, which methods refuse: it stores statistics on the module.
    """
    kinds = set()
    for module in net.modules():
        if isinstance(module, PopulationNorm):
            kinds.add("population")
        elif isinstance(module, Norm):
            kinds.add("transductive" if module.transductive else "support")
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            kinds.add("running" if module.track_running_stats else "transductive")
        elif isinstance(module, nn.GroupNorm):
            kinds.add("group")
        elif isinstance(module, nn.LayerNorm):
            kinds.add("layer")
    return "+".join(sorted(kinds)) or "none"
