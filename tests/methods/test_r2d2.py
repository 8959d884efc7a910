"""Ridge heads against the normal equations."""

import pytest
import torch

from helpers import random_episodes
from quickstudy import Categorical, Episode
from quickstudy.core import tree
from quickstudy.methods.metric.r2d2 import R2D2
from quickstudy.nets import Flatten


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


def with_ones(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)


@pytest.mark.parametrize("kept", [10, 6])
def test_the_weights_solve_the_normal_equations(kept: int):
    """(XᵀX + λI) W = XᵀY over the examples that are not padding: the primal of the dual that the method solves."""
    episode, method = one(), R2D2(Flatten((3,)), penalty=0.3).double()
    support = episode.support._replace(mask=torch.arange(len(episode.support.mask)) < kept)
    x, y = with_ones(support.x[:kept]), support.y[:kept].double()
    expected = torch.linalg.solve(x.T @ x + 0.3 * torch.eye(4, dtype=torch.float64), x.T @ y)
    learner = method.adapt(support)
    torch.testing.assert_close(learner.weight, expected, rtol=1e-6, atol=1e-7)
    said = method.predict(learner, episode.query.x)
    assert isinstance(said, Categorical)
    seen = y.any(0)
    logits = (10.0 * with_ones(episode.query.x) @ expected)[:, seen]
    torch.testing.assert_close(said.mean[:, seen], logits.softmax(-1), rtol=1e-5, atol=1e-6)
    assert (said.mean[:, ~seen] == 0).all()


def test_regression_passes_through_points_it_can_fit():
    torch.manual_seed(0)
    x = torch.randn(20, 3, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64) + 3
    episode = one()
    support = episode.support._replace(x=x, y=y, mask=torch.ones(20, dtype=torch.bool))
    method = R2D2(Flatten((3,)), penalty=1e-9, likelihood="gaussian").double()
    torch.testing.assert_close(method.predict(method.adapt(support), x).mean, y, rtol=1e-5, atol=1e-5)


def test_penalty_and_scale_are_learned():
    episode, method = one(), R2D2(Flatten((3,))).double()
    method.meta_loss(episode).backward()
    assert all(weight.grad.abs() > 0 for weight in (method.log_penalty, method.log_scale))
