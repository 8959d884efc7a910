"""The inner loop: steps down a task's loss, and gradients through them. Shared by every gradient method."""

from quickstudy.inner.loop import Gradient, descend, unroll
from quickstudy.inner.rules import SGD, Adam, LearnedRates, Momentum, Rule

__all__ = ["SGD", "Adam", "Gradient", "LearnedRates", "Momentum", "Rule", "descend", "unroll"]
