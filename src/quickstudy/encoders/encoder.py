"""What every encoder is: a pure function from raw inputs to items of one shape, with settings that are saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from quickstudy.core.shapes import Float, Tensor

__all__ = ["Encoder", "Kind"]

Kind = Literal["image", "vector", "text"]
"""What raw inputs are: pictures, numbers or text."""


class Encoder(ABC):
    """Makes the tensors that a method reads of what people have: image files, lists of numbers, text.

    Concrete encoders are frozen dataclasses (`@settings`), registered in `quickstudy.registry.ENCODERS`, so that a
    bundle can name the one that its method was trained with. Each input is encoded by itself: what else is asked at
    the same time makes no difference.
    """

    kind: ClassVar[Kind]
    """What raw inputs are."""
    item: tuple[int, ...]
    """The shape of what comes out for each input."""

    @abstractmethod
    def encode(self, raw: Sequence[Any]) -> Float[Tensor, "n *item"]:
        """The items that raw inputs become, in their order, in float32.

        Raises:
            DataError: naming the first input that cannot be read.
        """

    def pinned(self) -> Encoder:
        """This encoder with all that it depends on written down, as bundles keep it: the hashes of weights it names."""
        return self
