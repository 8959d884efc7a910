"""Convolutions of patches against torch's own, and their moments against those of the map."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.nets import Conv4
from quickstudy.nets.norm import measure
from quickstudy.nets.patches import patches, product_moments, products


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_products_of_patches_are_the_convolution(stride: int, size: tuple[int, int]):
    torch.manual_seed(0)
    x, weight = torch.randn(4, 3, *size, dtype=torch.float64), torch.randn(5, 3, 3, 3, dtype=torch.float64)
    maps = F.conv2d(x, weight, stride=stride, padding=1)
    read = patches(x, 3, stride)
    torch.testing.assert_close(products(read, weight.flatten(1)), maps)
    for mask in (None, torch.tensor([True, False, True, True])):
        counted = maps if mask is None else maps[mask]
        for found in (product_moments(read, weight.flatten(1), mask), measure(maps, mask)):
            torch.testing.assert_close(found.mean, counted.mean((0, 2, 3)))
            torch.testing.assert_close(found.variance, counted.var((0, 2, 3), correction=0))


@pytest.mark.parametrize("downsample", ["pool", "stride"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_blocks_are_those_of_the_paper(channels: int, downsample: str):
    """Convolution, batch normalisation, ReLU, pooling, in torch's own words; gains of either sign."""
    torch.manual_seed(0)
    net = Conv4((channels, 16, 18), width=6, downsample=downsample, norm="transductive").double()
    for norm in list(net.blocks)[1 :: len(net.blocks) // 4]:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    x = torch.randn(7, channels, 16, 18, dtype=torch.float64)
    said, maps = net(x), x
    for block in net.blocks:
        if hasattr(block, "transductive"):
            maps = F.batch_norm(maps, None, None, block.weight, block.bias, training=True)
        else:
            maps = block(maps)
    expected = maps.flatten(1) if downsample == "pool" else maps.mean((2, 3))
    torch.testing.assert_close(said, expected, rtol=1e-5, atol=1e-7)
