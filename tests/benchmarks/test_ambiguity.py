"""The likelihood of all values of a task at once, by hand."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch

from quickstudy.core.episode import Episode, Examples
from quickstudy.core.predictions import Gaussian, Mixture

TASKS, POINTS, MEMBERS, SCALE = 2, 6, 3, 1.7


@pytest.fixture
def asked() -> tuple[Episode, Gaussian]:
    drawn = torch.Generator().manual_seed(0)

    def examples(count: int, width: float) -> Examples:
        x = width * torch.rand(TASKS, count, 1, generator=drawn) - width / 2
        return Examples(x, torch.randn(x.shape, generator=drawn), torch.ones(x.shape[:2], dtype=torch.bool))

    shape = (TASKS, MEMBERS, POINTS, 1)
    said = Gaussian(torch.randn(shape, generator=drawn), 0.5 + torch.rand(shape, generator=drawn))
    return Episode(examples(3, 0.5), examples(POINTS, 6.0)), said


def density(said: Gaussian, episode: Episode, t: int, m: int) -> list[float]:
    """Of each value away from the support of task `t`, as member `m` says."""
    middle = episode.support.x[t].mean()
    found = []
    for n in range(POINTS):
        if abs(episode.query.x[t, n, 0] - middle) > 1:
            mean, std = said.mean[t, m, n, 0].item(), SCALE * said.std[t, m, n, 0].item()
            z = (episode.query.y[t, n, 0].item() - mean) / std
            found.append(math.exp(-z * z / 2) / (std * math.sqrt(2 * math.pi)))
    return found


def test_together_is_the_mixture_of_the_members_products(asked: tuple[Episode, Gaussian]) -> None:
    claim = importlib.import_module("ambiguity")
    episode, parts = asked
    weights = torch.tensor([0.5, 0.2, 0.3])
    found = claim._together([(episode, Mixture(parts, weights.log().expand(TASKS, -1)))], SCALE)
    for t in range(TASKS):
        each = [density(parts, episode, t, m) for m in range(MEMBERS)]
        expected = sum(float(w) * np.prod(one) for w, one in zip(weights, each, strict=True))
        assert found[t] == pytest.approx(-math.log(expected) / len(each[0]), rel=1e-5)


def test_one_answer_is_a_member_by_itself(asked: tuple[Episode, Gaussian]) -> None:
    claim = importlib.import_module("ambiguity")
    episode, parts = asked
    one = Gaussian(*(leaf[:, 0] for leaf in parts))
    found = claim._together([(episode, one)], SCALE)
    for t in range(TASKS):
        assert found[t] == pytest.approx(-np.log(density(parts, episode, t, 0)).mean(), rel=1e-5)
