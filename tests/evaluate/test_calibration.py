"""Calibration against a bin-by-bin loop, and its known extremes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from quickstudy.evaluate import Answers, calibration


def answers(confidence: list[float], right: list[float]) -> Answers:
    n = len(right)
    return Answers(
        metric="accuracy",
        values=np.array(right),
        classes=None,
        score=np.array(right),
        nll=np.full(n, 0.5),
        confidence=np.array(confidence),
        brier=np.full(n, 0.25),
        seconds=0.0,
        digest="",
    )


def test_the_error_is_that_of_a_loop_over_bins() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.random(500)
    right = (generator.random(500) < confidence**2).astype(float)
    expected, counts = 0.0, []
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        counts.append(int(inside.sum()))
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = calibration(answers(confidence.tolist(), right.tolist()))
    assert found is not None
    assert found.ece == pytest.approx(expected)
    assert [b.count for b in found.bins] == counts
    assert (found.nll, found.brier) == (0.5, 0.25)


def test_edges_belong_to_the_bin_below() -> None:
    found = calibration(answers([0.0, 0.5, 1.0], [0, 1, 1]), bins=2)
    assert found is not None
    assert [(b.low, b.high, b.count) for b in found.bins] == [(0, 0.5, 2), (0.5, 1, 1)]


def test_sure_and_right_is_perfect_and_sure_and_wrong_is_not() -> None:
    right, wrong = calibration(answers([1.0, 1.0], [1, 1])), calibration(answers([1.0, 1.0], [0, 0]))
    assert right is not None
    assert wrong is not None
    assert (right.ece, wrong.ece) == (0, 1)
    assert math.isnan(right.bins[0].accuracy)


def test_a_diverged_method_has_no_calibration_error() -> None:
    found = calibration(answers([math.nan, 0.5], [0, 1]))
    assert found is not None
    assert math.isnan(found.ece)


def test_regression_has_no_calibration() -> None:
    assert calibration(dataclasses.replace(answers([0.5], [1]), metric="mse")) is None
