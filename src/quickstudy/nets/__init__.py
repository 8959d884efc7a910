"""Nets turn inputs into features. They know nothing of tasks."""

from quickstudy.nets.conv import Conv4
from quickstudy.nets.grouped import OfConv4
from quickstudy.nets.mlp import MLP, Flatten
from quickstudy.nets.net import Net
from quickstudy.nets.norm import Norm, normalisation
from quickstudy.nets.resnet import ResNet12

__all__ = ["MLP", "Conv4", "Flatten", "Net", "Norm", "OfConv4", "ResNet12", "normalisation"]
