"""Feature-wise linear modulation (Perez et al. 2018): a task scales and shifts the channels of a net that it shares.

A modulation is not a layer but other weights: a layer that ends in `· weight + bias` gives (1 + scale) · output + shift
once its weight and bias are made so. `apply` runs the net with them, and no net needs to know of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from quickstudy.core.shapes import Float, Tensor
from quickstudy.nets.norm import Norm

__all__ = ["Modulation", "modulated", "places"]

Modulation = dict[str, tuple[Tensor, Tensor]]
"""By the name of a layer: the scale, from which 1 is left out, and the shift of each of its channels."""

_NORMS = (Norm, nn.GroupNorm, nn.LayerNorm)
_PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def places(net: nn.Module) -> dict[str, int]:
    """Where a net can be modulated: the names of its layers with how many channels each has.

    They are its normalising layers, and its linear layers and convolutions where it normalises nothing; those without
    a bias to shift are passed over. A net without weights has none.

    >>> from quickstudy.nets import Conv4
    >>> from quickstudy.nets.film import places
    >>> places(Conv4((1, 28, 28), width=8))
    {'blocks.1': 8, 'blocks.5': 8, 'blocks.9': 8, 'blocks.13': 8}
    """
    for kinds in (_NORMS, _PRODUCTS):
        found = {name: module for name, module in net.named_modules() if isinstance(module, kinds)}
        biases = {name: module.bias for name, module in found.items()}
        if found:
            return {name: len(bias) for name, bias in biases.items() if isinstance(bias, Tensor)}
    return {}


def modulated(net: nn.Module, modulation: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The weights that `apply` runs a net with so that it is modulated: those of the layers named, and no others.

    Args:
        net: The net.
        modulation: Scale and shift of some or all of its `places`. Zeros change nothing.
    """
    weights: dict[str, Tensor] = {}
    for name, (scale, shift) in modulation.items():
        layer = net.get_submodule(name)
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        factor: Float[Tensor, " d"] = 1 + scale
        weights[f"{name}.weight"] = weight * factor.view(-1, *[1] * (weight.ndim - 1))
        weights[f"{name}.bias"] = torch.addcmul(shift, bias, factor)
    return weights
