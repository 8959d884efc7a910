"""Whether probabilities mean what they say: of what was called 70% likely, is 70% so?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quickstudy.core.settings import Size
from quickstudy.evaluate.evaluate import LEVELS, Answers
from quickstudy.evaluate.record import Bin, Calibration, Interval

__all__ = ["BINS", "calibration", "intervals"]

BINS = 15
"""As in Guo et al. (2017, "On calibration of modern neural networks")."""


def calibration(answers: Answers, bins: Size = BINS) -> Calibration | None:
    """The calibration of class probabilities, over the queries of all episodes together; None for regression.

    Confidences are put in `bins` bins of equal width. The expected calibration error is the mean difference between
    accuracy and mean confidence of the bins, weighted by how many queries they hold (Guo et al. 2017); the Brier score
    is the squared distance of the probabilities from the one-hot truth, 0 to 2 (Brier 1950).
    """
    if answers.metric != "accuracy":
        return None
    confidence, right = answers.confidence, answers.score
    place = np.clip(np.ceil(np.nan_to_num(confidence) * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    mean_confidence = _mean(confidence, place, count)
    accuracy = _mean(right, place, count)
    filled = count > 0
    gaps = np.abs(accuracy - mean_confidence)[filled]
    return Calibration(
        bins=tuple(
            Bin(i / bins, (i + 1) / bins, int(count[i]), float(mean_confidence[i]), float(accuracy[i]))
            for i in range(bins)
        ),
        ece=float((gaps * count[filled]).sum() / count.sum()),
        nll=float(answers.nll.mean()),
        brier=float(answers.brier.mean()),
    )


def intervals(answers: Answers) -> tuple[Interval, ...]:
    """The coverage and the mean width of central intervals at each of `LEVELS`; none where values have no order.

    Narrower is better among predictions that cover what they say (Gneiting et al. 2007, "sharpness subject to
    calibration").
    """
    figures = zip(LEVELS, answers.inside, answers.width, strict=True) if len(answers.inside) else ()
    return tuple(Interval(level, float(inside.mean()), float(width.mean())) for level, inside, width in figures)


def _mean(values: NDArray[np.float64], place: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean of the values in each bin; nan where it is empty."""
    total = np.bincount(place, values, minlength=len(count))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
