"""Conv-4 over groups of images that share statistics each, without gradients: many learners' images in one pass.

Mapped over learners that have statistics of their own, a convolution whose filters hold their scale is another one for
each learner, and a map's channels end up first in memory, where a CPU pools them ten times more slowly. Here the
filters are shared, channels come last throughout, and what belongs to a group is applied to maps that are pooled
already. Nothing is computed for what a mask leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from quickstudy.core.apply import Grouping, Moments, Statistics, groups_by
from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.nets.conv import FEW, Conv4
from quickstudy.nets.norm import EPSILON, Norm

__all__ = ["OfConv4"]

NUMBERS = 2**20
"""Numbers of a map that are made before they are pooled: four megabytes stay in the caches of a core."""

Layer = tuple[Tensor, Norm, int, bool]
"""Filters [d, c, k, k], normalisation, stride, and whether its maps are pooled."""


class OfConv4(Grouping):
    """How a Conv-4 that normalises by statistics of the support takes groups."""

    def suits(self, net: Conv4, x: Float[Tensor, "n c h w"], statistics: Statistics | None) -> bool:
        layers = list(_layers(net))
        plain = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.dtype == layers[0][0].dtype
        few = layers[0][0][0].numel() <= FEW
        own = all(type(norm) is Norm and not norm.transductive for _, norm, *_ in layers)
        return plain and few and own and (statistics is None or len(statistics) == len(layers))

    def of_groups(
        self,
        net: Conv4,
        x: Float[Tensor, "g n c h w"],
        mask: Bool[Tensor, "g n"] | None,
        statistics: Statistics | None,
    ) -> tuple[Float[Tensor, "g n d"], Statistics]:
        layers = list(_layers(net))
        if statistics is None:
            maps, statistics = _all_measured(layers, x, mask)
        else:
            maps = _given(layers, x, statistics)
            maps = maps.view(*x.shape[:2], *maps.shape[1:])
        maps = maps.movedim(-1, 2)
        return (maps.flatten(2) if net.pool else maps.mean((3, 4))), statistics


def _layers(net: Conv4) -> Iterator[Layer]:
    each = len(net.blocks) // 4
    modules: list[Any] = list(net.blocks)
    for number, (conv, norm) in enumerate(zip(modules[::each], modules[1::each], strict=True)):
        yield conv.weight, norm, conv.stride[0], net.pool and number < net.halvings


def _all_measured(
    layers: Sequence[Layer], x: Float[Tensor, "g n c h w"], mask: Bool[Tensor, "g n"] | None
) -> tuple[Float[Tensor, "g n h2 w2 d"], Statistics]:
    """The last maps of each image, zeros for those that a mask leaves out, and each group's moments [g, d]."""
    counted = [slice(None)] * len(x) if mask is None else list(mask)
    made = [_measured(layers, images[of]) for images, of in zip(x, counted, strict=True)]
    found = tuple(
        Moments(*map(torch.stack, zip(*each, strict=True))) for each in zip(*(m for _, m in made), strict=True)
    )
    if all(len(maps) == x.shape[1] for maps, _ in made):
        return torch.stack([maps for maps, _ in made]), found
    whole = made[0][0].new_zeros(*x.shape[:2], *made[0][0].shape[1:])
    for place, of, (maps, _) in zip(whole, counted, made, strict=True):
        place[of] = maps
    return whole, found


def _given(layers: Sequence[Layer], x: Float[Tensor, "g n c h w"], given: Statistics) -> Tensor:
    """The last maps of each image, channels last [g·n, h2, w2, d], normalised with its group's moments [g, d]."""
    each = x.shape[1]
    scales, shifts = [], []
    for (_, norm, *_), moments in zip(layers, given, strict=True):
        scale = norm.weight * torch.rsqrt(moments.variance + EPSILON)
        shifts.append(_of_images(norm.bias - moments.mean * scale, each))
        scales.append(_of_images(scale * _sign(norm), each))
    shared = [_turned(filters, _sign(norm)) for filters, norm, *_ in layers]
    maps = None
    images = x.flatten(0, 1)
    for (_, _, stride, pool), filters, scale, shift in zip(layers, shared, scales, shifts, strict=True):
        maps = (
            _first(images, filters, stride, pool) if maps is None else _pooled(_convolved(maps, filters, stride), pool)
        )
        maps = torch.addcmul(shift, maps, scale).relu_()
    assert maps is not None
    return maps


def _measured(layers: Sequence[Layer], x: Float[Tensor, "n c h w"]) -> tuple[Tensor, Statistics]:
    """The last maps of a group's images, channels last [n, h2, w2, d], and the moments [d] that each layer measured."""
    (filters, norm, stride, pool), *others = layers
    moments = _first_moments(x, filters, stride)
    found = [moments]
    scale = norm.weight * torch.rsqrt(moments.variance + EPSILON)
    scaled = _turned(filters, scale)
    maps = _first(x, scaled, stride, pool).add_(norm.bias - moments.mean * scale).relu_()
    for filters, norm, stride, pool in others:
        sign = _sign(norm)
        maps = _convolved(maps, _turned(filters, sign), stride)
        mean, variance = torch.batch_norm_update_stats(maps.movedim(-1, 1), None, None, 0.0)
        found.append(Moments(sign * mean, variance))
        scale = norm.weight * torch.rsqrt(variance + EPSILON) * sign
        maps = torch.addcmul(norm.bias - mean * scale, _pooled(maps, pool), scale).relu_()
    return maps, tuple(found)


def _first_moments(x: Float[Tensor, "n c h w"], filters: Float[Tensor, "d c k k"], stride: int) -> Moments:
    """The moments of a convolution's maps, from those of the patches that it reads (see `patches`)."""
    size = filters.shape[-1]
    padded = F.pad(x.double(), (size // 2,) * 4)
    height, width = (-(-side // stride) for side in x.shape[2:])
    read = torch.stack(
        [
            padded[:, :, row : row + stride * height : stride, column : column + stride * width : stride]
            for row in range(size)
            for column in range(size)
        ]
    )  # [k·k, n, c, h2, w2]: each place of a patch for itself
    rows = read.movedim(2, 0).flatten(0, 1).flatten(1)
    count, wide = rows.shape[1], filters.flatten(1).double()
    mean = rows.sum(1) / count
    covariance = rows @ rows.T / count - torch.outer(mean, mean)
    variance = ((wide @ covariance) * wide).sum(1).clamp(min=0)
    return Moments((wide @ mean).to(filters.dtype), variance.to(filters.dtype))


def _sign(norm: Norm) -> Float[Tensor, " d"]:
    """A maximum goes through a scale that is not negative: filters are turned round where it is."""
    return torch.where(norm.weight < 0, -1.0, 1.0).to(norm.weight.dtype)


def _turned(filters: Float[Tensor, "d c k k"], factor: Float[Tensor, " d"]) -> Float[Tensor, "d c k k"]:
    """Filters with a factor each, their channels last in memory as those of maps."""
    return (filters * factor[:, None, None, None]).to(memory_format=torch.channels_last)


def _of_images(values: Float[Tensor, "g d"], each: int) -> Float[Tensor, "images 1 1 d"]:
    return values.repeat_interleave(each, 0)[:, None, None]


def _first(images: Float[Tensor, "n c h w"], filters: Tensor, stride: int, pool: bool) -> Float[Tensor, "n h2 w2 d"]:
    """The first layer's maps, which are the largest, so many images at a time that they stay in a core's cache."""
    each = len(filters) * math.prod(images.shape[2:]) // stride**2
    parts = [
        _pooled(_convolved(_last(some), filters, stride), pool) for some in torch.split(images, max(1, NUMBERS // each))
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _last(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w c"]:
    return images.movedim(1, -1).contiguous()


def _convolved(maps: Float[Tensor, "n h w c"], filters: Tensor, stride: int) -> Float[Tensor, "n h2 w2 d"]:
    return F.conv2d(maps.movedim(-1, 1), filters, stride=stride, padding=filters.shape[-1] // 2).movedim(1, -1)


def _pooled(maps: Float[Tensor, "n h w d"], pool: bool) -> Float[Tensor, "n h2 w2 d"]:
    """The largest of each 2 by 2, by maxima of whole rows: torch's own pooling also looks for where they are."""
    if not pool:
        return maps
    height, width = maps.shape[1] // 2 * 2, maps.shape[2] // 2 * 2
    rows = torch.maximum(maps[:, 0:height:2], maps[:, 1:height:2])
    return torch.maximum(rows[:, :, 0:width:2], rows[:, :, 1:width:2])


groups_by(Conv4, OfConv4())
