"""Features and targets on a common scale, by statistics of the support alone."""

from __future__ import annotations

from typing import NamedTuple

from quickstudy.core.shapes import Float, Tensor

__all__ = ["Scale"]


class Scale(NamedTuple):
    """A shift and a factor for each column; constant columns are shifted only."""

    mean: Float[Tensor, " d"]
    std: Float[Tensor, " d"]

    @classmethod
    def of(cls, values: Float[Tensor, "n d"], length: float = 1.0) -> Scale:
        """The scale on which each column has mean 0 and standard deviation `length`."""
        mean, std = values.mean(0), values.std(0, correction=0)
        # The rounding of a large constant is no deviation.
        constant = std <= 1e-12 * mean.abs().clamp(min=1e-300)
        return cls(mean, std.masked_fill(constant, 1.0) / length)

    def to(self, values: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Values as they are, on this scale."""
        return (values - self.mean) / self.std

    def back(self, values: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Values on this scale, as they are."""
        return values * self.std + self.mean
