"""The support vector machine: its conditions of optimality, finite differences; and the head on it."""

import pytest
import torch

from helpers import random_episodes
from quickstudy.core import tree
from quickstudy.methods.metric.metaoptnet import MetaOptNet
from quickstudy.methods.metric.svm import multiclass_svm
from quickstudy.nets import Flatten


def problem(n=12, k=4, d=3, seed=0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.eye(k, dtype=torch.float64)[torch.arange(n) % k]
    return x, y, torch.ones(n, k, dtype=torch.bool)


def objective(alpha, gram, y) -> torch.Tensor:
    return 0.5 * (alpha * (gram @ alpha)).sum() - (alpha * y).sum()


@pytest.mark.parametrize(
    ("n", "k", "d", "bound"), [(12, 4, 3, 0.3), (5, 5, 8, 0.1), (20, 4, 3, 10.0), (25, 5, 64, 0.1)]
)
def test_it_is_the_optimum(n, k, d, bound):
    """Feasible, and the primal ½‖W‖² + C Σ ξ (equation 8) costs no more: by weak duality both are best."""
    x, y, counted = problem(n, k, d)
    alpha = multiclass_svm(x @ x.T, y, counted, bound)
    torch.testing.assert_close(alpha.sum(-1), torch.zeros(n, dtype=torch.float64), rtol=0, atol=1e-9)
    assert (alpha <= bound * y + 1e-9).all()
    weight = x.T @ alpha
    scores = x @ weight
    misplaced = ((1 - y) + scores).amax(-1) - (scores * y).sum(-1)
    primal = 0.5 * weight.square().sum() + bound * misplaced.clamp(min=0).sum()
    torch.testing.assert_close(primal, -objective(alpha, x @ x.T, y), rtol=1e-7, atol=1e-8)


def test_its_derivative_is_that_of_the_solution():
    x, y, counted = problem()
    target = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def said(x):
        return (x.T @ multiclass_svm(x @ x.T, y, counted, 0.3) * target).sum()

    assert torch.autograd.gradcheck(said, (x.requires_grad_(),), eps=1e-6, atol=1e-5)


def test_variables_left_out_are_as_if_they_were_not_there():
    x, y, _ = problem(12, 4)
    counted = (torch.arange(12) < 9)[:, None] & (torch.arange(4) < 3)
    keep = (torch.arange(12) < 9) & (y[:, 3] == 0)
    counted = counted & keep[:, None]
    alpha = multiclass_svm(x @ x.T, y, counted, 0.3)
    alone = multiclass_svm(x[keep] @ x[keep].T, y[keep][:, :3], torch.ones(int(keep.sum()), 3, dtype=torch.bool), 0.3)
    torch.testing.assert_close(alpha[keep][:, :3], alone)
    assert not alpha[~keep].any()
    assert not alpha[:, 3].any()


def test_the_head_scales_products_with_the_weights():
    episode = tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))
    method = MetaOptNet(Flatten((3,)), bound=0.3, scale=7.0).double()
    x, y = episode.support.x, episode.support.y.double()
    weight = x.T @ multiclass_svm(x @ x.T, y, torch.ones_like(y, dtype=torch.bool), 0.3)
    said = method.predict(method.adapt(episode.support), episode.query.x)
    torch.testing.assert_close(said.logits, 7.0 * episode.query.x @ weight, rtol=1e-6, atol=1e-6)
    absent = episode.support._replace(mask=~episode.support.y[:, 1])
    assert not method.predict(method.adapt(absent), episode.query.x).mean[:, 1].any()


def test_the_other_head_is_ridge_regression():
    """MetaOptNet-RR by the normal equations: (ZᵀZ + λI) W = ZᵀY over the examples that are not padding."""
    episode = tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))
    method = MetaOptNet(Flatten((3,)), head="ridge", penalty=2.0, scale=7.0).double()
    support = episode.support._replace(mask=torch.arange(8) < 6)
    x, y = support.x[:6], support.y[:6].double()
    weight = torch.linalg.solve(x.T @ x + 2.0 * torch.eye(3, dtype=torch.float64), x.T @ y)
    said = method.predict(method.adapt(support), episode.query.x)
    torch.testing.assert_close(said.logits, 7.0 * episode.query.x @ weight, rtol=1e-6, atol=1e-6)
    absent = episode.support._replace(mask=~episode.support.y[:, 1])
    assert not method.predict(method.adapt(absent), episode.query.x).mean[:, 1].any()
