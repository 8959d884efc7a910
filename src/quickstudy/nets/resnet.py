"""The deeper standard backbone of few-shot image classification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from quickstudy.core.settings import Size
from quickstudy.core.shapes import Float, Tensor
from quickstudy.nets.net import Net, check_image
from quickstudy.nets.norm import Normalisation, make_norm
from quickstudy.nets.pooling import max_pooled

__all__ = ["ResNet12"]


class ResNet12(Net):
    """Four residual blocks of three 3x3 convolutions.

    As in TADAM and MetaOptNet (Oreshkin et al. 2018, Lee et al. 2019). Each block ends in 2x2 max-pooling; the last map
    is averaged. DropBlock, which those papers add while training, is left out: it would draw chance inside `adapt`.

    Args:
        item: Shape of one image, [channels, height, width].
        widths: Channels of the four blocks.
        norm: Where normalisation statistics come from.
    """

    def __init__(
        self,
        item: tuple[int, ...],
        *,
        widths: tuple[Size, Size, Size, Size] = (64, 160, 320, 640),
        norm: Normalisation = "support",
    ) -> None:
        super().__init__()
        channels, *_ = check_image("resnet12", item, smallest=16)
        ins = (channels, *widths)
        self.blocks = nn.Sequential(*(_Block(a, b, norm) for a, b in zip(ins, widths, strict=False)))
        self.features = widths[-1]

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        maps: Tensor = self.blocks(x)
        return maps.mean((2, 3))


class _Block(nn.Module):
    def __init__(self, fan_in: int, width: int, norm: Normalisation) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(a, width, 3) for a in (fan_in, width, width))
        self.norms = nn.ModuleList(make_norm(norm, width) for _ in range(3))
        self.shortcut = nn.Sequential(_conv(fan_in, width, 1), make_norm(norm, width))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            out = norm(conv(out))
            out = out + self.shortcut(x) if i == 2 else out
            out = F.leaky_relu(out, 0.1)
        return max_pooled(out)


def _conv(fan_in: int, width: int, size: int) -> nn.Conv2d:
    conv = nn.Conv2d(fan_in, width, size, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, a=0.1)
    return conv
