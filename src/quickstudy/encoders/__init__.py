"""From raw inputs (image files, lists of numbers, text) to the tensors that a method is fed."""

from quickstudy.encoders.encoder import Encoder
from quickstudy.encoders.image import ImageEncoder
from quickstudy.encoders.vector import VectorEncoder

__all__ = ["Encoder", "ImageEncoder", "VectorEncoder"]
