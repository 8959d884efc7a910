"""What every net is: a module from a batch of items to a batch of feature vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from quickstudy.core.settings import Configurable
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.errors import MethodError, SettingsError

__all__ = ["Net", "check_image", "weights_of", "width_of"]


class Net(Configurable, nn.Module, ABC):
    """A feature extractor for items of one shape.

    Methods put their own heads on it, so a net has no number of classes. Any module with a `features` attribute
    can stand in for one, as long as its normalising layers are `Norm`.
    """

    features: int
    """How many features come out for each item."""
    maps: tuple[int, int, int] | None = None
    """[channels, height, width] of the maps that the features are, flattened; None where they are a vector."""

    @abstractmethod
    def forward(self, x: Shaped[Tensor, "n *item"]) -> Float[Tensor, "n d"]:
        """Features of each item."""


def check_image(owner: str, item: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """The channels, height and width of an image shape; `SettingsError` for anything else or too small."""
    if len(item) != 3 or min(item[1:]) < smallest:
        raise SettingsError(
            f"{owner} reads images [channels, height, width] of at least {smallest} by {smallest} pixels, got items of "
            f"shape {tuple(item)}. Use net 'mlp' for vectors, or give larger images."
        )
    return item[0], item[1], item[2]


def width_of(net: nn.Module) -> int:
    """How many features a body gives each item, by its `features` attribute.

    Raises:
        MethodError: it has none.
    """
    features = getattr(net, "features", None)
    if not isinstance(features, int):
        raise MethodError(
            f"a body must say how many features it gives in an integer attribute `features`, got {features!r} on "
            f"{type(net).__name__}. Set net.features = ..., or inherit quickstudy.nets.Net."
        )
    return features


def weights_of(**parts: nn.Module) -> dict[str, Tensor]:
    """The parameters of named parts as one dictionary: `weights_of(head=linear)` has "head.weight", "head.bias"."""
    return {f"{part}.{name}": weight for part, module in parts.items() for name, weight in module.named_parameters()}
