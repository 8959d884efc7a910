"""The four-layer convolutional net on which few-shot methods have been compared since Vinyals et al. (2016)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from quickstudy.core.apply import Moments
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Float, Tensor
from quickstudy.nets.net import Net, check_image
from quickstudy.nets.norm import Norm, Normalisation, make_norm, measure
from quickstudy.nets.patches import patches, product_moments, products
from quickstudy.nets.pooling import MaxPool, max_pooled

__all__ = ["Conv4"]

FEW = 32
"""Numbers that a filter reads up to which a layer is computed from its patches: those of grey and coloured images."""


class Conv4(Net):
    """Four blocks of 3x3 convolution, normalisation and ReLU, each halving the image.

    With `downsample="pool"` it is the embedding of Vinyals et al. (2016) and Snell et al. (2017): each block ends in
    2x2 max-pooling and the last map is flattened. With `downsample="stride"` it is the Omniglot net of Finn et al.
    (2017): the convolutions have stride 2 and the last map is averaged. Strides cost 3.7 times less. Weights start as
    in those papers' code: as torch starts them, and after Glorot and Bengio (2010).

    Args:
        item: Shape of one image, [channels, height, width].
        width: Channels of every block.
        downsample: "pool" or "stride".
        halvings: How many of the blocks halve the image, from the first on; the others keep its size. Relation networks
            (Sung et al. 2018) take 2, for maps that are still maps.
        norm: Where normalisation statistics come from.
    """

    def __init__(
        self,
        item: tuple[int, ...],
        *,
        width: Size = 64,
        downsample: Literal["pool", "stride"] = "pool",
        norm: Normalisation = "support",
        halvings: Annotated[int, Field(ge=0, le=4)] = 4,
    ) -> None:
        super().__init__()
        channels, height, columns = check_image("conv4", item, smallest=2**halvings if downsample == "pool" else 1)
        pool = downsample == "pool"
        blocks: list[nn.Module] = []
        for number, fan_in in enumerate((channels, width, width, width)):
            stride = 2 if number < halvings and not pool else 1
            conv = nn.Conv2d(fan_in, width, 3, padding=1, stride=stride, bias=norm in ("none", "group"))
            if not pool:
                nn.init.xavier_uniform_(conv.weight)
            last = MaxPool() if number < halvings else nn.Identity()
            blocks += [conv, make_norm(norm, width), nn.ReLU(), *([last] if pool else [])]
        self.blocks = nn.Sequential(*blocks)
        self.pool, self.halvings = pool, halvings
        if pool:
            self.maps = width, height // 2**halvings, columns // 2**halvings
        self.features = math.prod(self.maps) if self.maps else width

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        each = len(self.blocks) // 4
        layers = list(self.blocks)
        for number, (conv, norm) in enumerate(zip(layers[::each], layers[1::each], strict=True)):
            assert isinstance(conv, nn.Conv2d)
            x = F.relu(_normalised(x, conv, norm, pool=self.pool and number < self.halvings))
        return x.flatten(1) if self.pool else x.mean((2, 3))


def _normalised(
    x: Float[Tensor, "n c h w"], conv: nn.Conv2d, norm: nn.Module, *, pool: bool
) -> Float[Tensor, "n d h2 w2"]:
    """The convolution of `x`, normalised and (if asked) max-pooled, in as few passes over the maps as will do."""
    weight, stride = conv.weight, conv.stride[0]
    few = isinstance(norm, Norm) and weight[0].numel() <= FEW
    read = patches(x, conv.kernel_size[0], stride) if few else None

    def convolved(weight: Tensor) -> Tensor:
        if read is None:
            return F.conv2d(_cast(x), _cast(weight), stride=stride, padding=conv.padding)
        return products(read, weight.flatten(1))

    def pooled(maps: Tensor) -> Tensor:
        return max_pooled(maps) if pool else maps

    if not isinstance(norm, Norm):
        maps = convolved(weight)
        return pooled(norm(maps if conv.bias is None else maps + _across(conv.bias, maps)))
    moments = norm.given()
    if moments is None and read is not None:
        moments = norm.measured(product_moments(read, weight.flatten(1), norm.mask))
    if moments is not None:  # known before the maps are: their scale is put into the filters
        scale, shift = norm.scale_and_shift(moments)
        maps = pooled(convolved(weight * scale[:, None, None, None]))
        return maps + _across(shift, maps)
    # A maximum goes through a scale that is not negative: with some filters turned round, pooling can come first.
    sign = torch.where(norm.weight < 0, -1.0, 1.0).to(weight.dtype)
    maps = convolved(weight * sign[:, None, None, None])
    turned = measure(maps, norm.mask)
    scale, shift = norm.scale_and_shift(norm.measured(Moments(sign * turned.mean, turned.variance)))
    maps = pooled(maps)
    return torch.addcmul(_across(shift, maps), maps, _across(scale * sign, maps))


def _across(channel: Float[Tensor, " d"], maps: Tensor) -> Float[Tensor, "d 1 1"]:
    return channel.to(maps.dtype)[:, None, None]


def _cast(x: Tensor) -> Tensor:
    """In autocast's precision. Autocast itself overlooks a convolution that is mapped and not differentiated."""
    device = x.device.type
    narrow = torch.is_autocast_enabled(device) and x.dtype == torch.float32
    return x.to(torch.get_autocast_dtype(device)) if narrow else x
