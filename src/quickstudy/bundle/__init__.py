"""Trained methods ready for use: one folder to keep, share and serve, and the learners that they make."""

from quickstudy.bundle.bundle import Bundle
from quickstudy.bundle.learner import Learner

__all__ = ["Bundle", "Learner"]
