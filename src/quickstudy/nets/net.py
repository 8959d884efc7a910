"""What every net is: a module from a batch of items to a batch of feature vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from quickstudy.core.settings import Configurable
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.errors import SettingsError

__all__ = ["Net", "check_image"]


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
