"""A convolution as one matrix product of the patches that it reads.

For a layer that reads few channels, as a net's first does, it is the quicker form on a CPU, and its map has the
channels last in memory. The moments of that map follow from the patches' own (mean wᵀμ, variance wᵀΣw), so that
normalising it is a factor of its filters: the largest maps of the net are never passed over to be measured and scaled.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from quickstudy.core.apply import Moments
from quickstudy.core.precision import in_own_precision
from quickstudy.core.shapes import Bool, Float, Tensor
from quickstudy.nets.norm import shares

__all__ = ["patches", "product_moments", "products"]


def patches(x: Float[Tensor, "n c h w"], size: int, stride: int = 1) -> Float[Tensor, "n h2 w2 k"]:
    """What each place of a convolution of an odd `size`, padded by half of it, reads: k = c · size²."""
    n, _, height, width = x.shape
    flat = F.unfold(x, size, padding=size // 2, stride=stride).transpose(1, 2)
    return flat.reshape(n, -(-height // stride), -(-width // stride), flat.shape[-1])


def products(read: Float[Tensor, "n h w k"], filters: Float[Tensor, "d k"]) -> Float[Tensor, "n d h w"]:
    """The convolution of the input that `read` are the patches of."""
    # not F.linear, whose derivative in the filters is a product in another order, three times as slow
    flat = read.flatten(0, 2) @ filters.T.contiguous()
    return flat.view(*read.shape[:3], len(filters)).movedim(-1, 1)


def product_moments(
    read: Float[Tensor, "n h w k"], filters: Float[Tensor, "d k"], mask: Bool[Tensor, " n"] | None
) -> Moments:
    """The moments of `products(read, filters)`, without the products, over the examples that `mask` admits."""
    with in_own_precision(read):
        # Neighbouring pixels are alike: a filter that tells them apart has a variance that is a small difference of
        # large numbers, so that float32 would lose three digits of it. There are few products, cheap in any precision.
        wide = torch.float32 if read.device.type == "mps" else torch.float64
        places, filters_ = read.flatten(1, 2).to(wide), filters.to(wide)
        share, rows = shares(mask, places), places.flatten(0, 1)
        mean = share @ rows
        around = rows - mean
        covariance = (around * share[:, None]).T @ around
        variance = ((filters_ @ covariance) * filters_).sum(1)
        dtype = torch.promote_types(filters.dtype, torch.float32)
        return Moments((filters_ @ mean).to(dtype), variance.to(dtype))
