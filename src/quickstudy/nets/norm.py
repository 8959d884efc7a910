"""Normalisation as an explicit choice, with no query ever influencing another's prediction unless one asks for it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from quickstudy.core.apply import Moments, current_tape
from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.errors import SettingsError

__all__ = ["Norm", "Normalisation", "make_norm", "normalisation"]

Normalisation = Literal["support", "transductive", "group", "none"]
"""Where a net's normalisation statistics come from.

- support: per channel, measured on the task's support, and used for its queries too (the default);
- transductive: per channel, of whatever batch is at hand, so queries see each other (MAML's published batch norm);
- group: of each example alone, over groups of channels;
- none: nothing is normalised.
"""

EPSILON = 1e-5


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
        tape = current_tape()
        if tape is None or self.transductive:
            moments = measure(x, None)
        else:
            given = tape.take()
            moments = measure(x, tape.mask) if given is None else given
            tape.measured.append(moments)
        scale = self.weight * torch.rsqrt(moments.variance + EPSILON)
        shift = self.bias - moments.mean * scale
        # One multiply-add over the maps: element-wise passes cost as much as the convolutions here.
        space = (-1,) + (1,) * (x.ndim - 2)
        return torch.addcmul(shift.to(x.dtype).view(space), x, scale.to(x.dtype).view(space))

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, transductive={self.transductive}"


def measure(x: Float[Tensor, "n d *space"], mask: Bool[Tensor, " n"] | None) -> Moments:
    """The moments of each channel over the examples that `mask` admits and over space.

    Computed from each example's own moments, so that padding can be weighted out without a second pass over the maps.
    """
    if x.ndim > 2:
        # A mean, then the mean square about it: `var_mean` is ten times slower than both under `vmap`.
        maps = _wide(x.flatten(2))
        mean = maps.mean(2)
        around = maps - mean[..., None]
        variance = torch.linalg.vecdot(around, around) / maps.shape[2]
    else:
        mean = _wide(x)
        variance = torch.zeros_like(mean)
    if mask is None:
        centre = mean.mean(0)
        return Moments(centre, (variance + (mean - centre).square()).mean(0))
    weight = mask.to(mean.dtype)
    weight = (weight / weight.sum().clamp(min=1))[:, None]
    centre = (weight * mean).sum(0)
    return Moments(centre, (weight * (variance + (mean - centre).square())).sum(0))


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def make_norm(policy: Normalisation, channels: int, groups: int = 8) -> nn.Module:
    """The layer that carries out a normalisation policy."""
    match policy:
        case "support":
            return Norm(channels)
        case "transductive":
            return Norm(channels, transductive=True)
        case "group":
            # At least two channels a group: alone on a map of one pixel, a channel would be normalised to nothing.
            most = max(1, min(groups, channels // 2))
            return nn.GroupNorm(next(g for g in range(most, 0, -1) if channels % g == 0), channels)
        case "none":
            return nn.Identity()
    raise SettingsError(f"no normalisation {policy!r}. Known: support, transductive, group, none.")


def normalisation(net: nn.Module) -> str:
    """What every record states of a net: "support", "transductive", "group", "layer", "none", or "running".

    "running" stands for torch's own batch normalisation, which methods refuse: it stores statistics on the module.
    """
    kinds = set()
    for module in net.modules():
        if isinstance(module, Norm):
            kinds.add("transductive" if module.transductive else "support")
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            kinds.add("running" if module.track_running_stats else "transductive")
        elif isinstance(module, nn.GroupNorm):
            kinds.add("group")
        elif isinstance(module, nn.LayerNorm):
            kinds.add("layer")
    return "+".join(sorted(kinds)) or "none"
