"""Honest results: frozen protocols, intervals, floors, calibration, curves and the records they leave."""

from quickstudy.evaluate.calibration import calibration, intervals
from quickstudy.evaluate.curves import shots_curve, steps_curve
from quickstudy.evaluate.drawn import draw_episodes
from quickstudy.evaluate.evaluate import Answers, answer, evaluate, result
from quickstudy.evaluate.floors import evaluate_floors
from quickstudy.evaluate.protocol import Protocol
from quickstudy.evaluate.statistics import class_bootstrap, compare, holm, paired, t_interval

__all__ = [
    "Answers",
    "Protocol",
    "answer",
    "calibration",
    "class_bootstrap",
    "compare",
    "draw_episodes",
    "evaluate",
    "evaluate_floors",
    "holm",
    "intervals",
    "paired",
    "result",
    "shots_curve",
    "steps_curve",
    "t_interval",
]
