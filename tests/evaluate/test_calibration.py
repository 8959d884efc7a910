"""Calibration against a bin-by-bin loop, and its known extremes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from quickstudy.core.episode import Episode, Examples
from quickstudy.core.learner import QueryScored, Tags
from quickstudy.core.predictions import Gaussian, Mixture
from quickstudy.evaluate import Answers, answer, calibration, intervals
from quickstudy.evaluate.evaluate import LEVELS
from quickstudy.tasks.source import Indices, TaskSource


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


class Normal(TaskSource):
    """Queries drawn from a standard normal; a third of them padding that lies far off."""

    item, outputs, likelihood = (1,), 2, "gaussian"

    @property
    def identity(self) -> dict[str, str]:
        return {"tasks": "normal"}

    def batch(self, indices: Indices) -> Episode:
        x = torch.zeros(len(indices), 30, 1)
        y = torch.stack([torch.randn(30, 2, generator=torch.Generator().manual_seed(int(i))) for i in indices])
        mask = (torch.arange(30) % 3 < 2).expand(len(indices), -1)
        examples = Examples(x, torch.where(mask[..., None], y, 100.0), mask)
        return Episode(examples, examples)


class Says(QueryScored):
    """A normal of this standard deviation, or a mixture of two equal ones."""

    tags = Tags(regression=True)

    def __init__(self, *, std: float = 1.0, mixed: bool = False) -> None:
        super().__init__()
        self.std, self.mixed = std, mixed

    def adapt(self, support: Examples, *noise: torch.Tensor) -> torch.Tensor:
        return support.x.sum()

    def predict(self, learner: torch.Tensor, x: torch.Tensor) -> Gaussian | Mixture:
        mean = torch.zeros(len(x), 2)
        said = Gaussian(mean, torch.full_like(mean, self.std))
        if not self.mixed:
            return said
        return Mixture(Gaussian(*(torch.stack([part, part]) for part in said)), torch.zeros(2))


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_intervals_hold_what_a_normal_does_and_are_as_wide_as_they_say(std: float, mixed: bool) -> None:
    found = intervals(answer(Says(std=std, mixed=mixed), Normal(), episodes=400))
    normal = torch.distributions.Normal(0, 1)
    assert [each.level for each in found] == list(LEVELS)
    for each in found:
        z = normal.icdf(torch.tensor(0.5 + each.level / 2)).item()
        true = 2 * normal.cdf(torch.tensor(std * z)).item() - 1
        assert each.coverage == pytest.approx(true, abs=0.015)
        assert each.width == pytest.approx(2 * z * std, rel=1e-5)


def test_classes_have_no_intervals() -> None:
    assert intervals(answers([0.9, 0.8], [1.0, 0.0])) == ()
