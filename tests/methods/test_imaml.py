"""Implicit MAML against ridge regression, whose minimum and meta-gradient are known."""

import pytest
import torch

from quickstudy import SGD, Episode, Examples
from quickstudy.methods.gradient.imaml import IMAML
from quickstudy.nets import MLP, Flatten


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def episode(n: int = 6) -> Episode:
    def part(seed: int) -> Examples:
        return Examples(normal(n, 3, seed=seed), normal(n, 1, seed=seed + 1), torch.ones(n, dtype=torch.bool))

    return Episode(part(0), part(10))


def with_ones(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)


def method(**settings) -> IMAML:
    learned = IMAML(Flatten((3,)), 1, likelihood="gaussian", strength=0.8, **settings).double()
    with torch.no_grad():
        learned.head.weight.copy_(normal(1, 3, seed=50))
        learned.head.bias.copy_(normal(1, seed=51))
    return learned


SOLVERS = [{"steps": 400, "rule": SGD(rate=0.1)}, {"steps": 1, "solver": "hessian-free"}]


@pytest.mark.parametrize("solver", SOLVERS, ids=["rule", "hessian-free"])
def test_a_linear_model_is_ridge_regression_towards_the_start(solver):
    """φ = (2/n XᵀX + λI)⁻¹ (2/n Xᵀy + λθ); the meta-gradient is λ (2/n XᵀX + λI)⁻¹ ∇query(φ)."""
    learned, task = method(**solver), episode()
    theta = torch.cat([learned.head.weight.flatten(), learned.head.bias]).detach()
    x, y = with_ones(task.support.x), task.support.y[:, 0]
    whole = 2 / 6 * x.T @ x + 0.8 * torch.eye(4, dtype=torch.float64)
    end = torch.linalg.solve(whole, 2 / 6 * x.T @ y + 0.8 * theta)
    weights = learned.adapt(task.support).weights
    torch.testing.assert_close(torch.cat([weights["head.weight"].flatten(), weights["head.bias"]]), end)
    learned.meta_loss(task).backward()
    query, target = with_ones(task.query.x), task.query.y[:, 0]
    after = 2 / 6 * query.T @ (query @ end - target)
    got = torch.cat([learned.head.weight.grad.flatten(), learned.head.bias.grad])
    torch.testing.assert_close(got, 0.8 * torch.linalg.solve(whole, after))


def test_residuals_fall_with_steps_and_iterations():
    task = episode()
    few, many = (method(steps=n, rule=SGD(rate=0.1), iterations=i).residuals(task) for n, i in ((3, 1), (200, 4)))
    assert many.slope < 1e-6 < few.slope < 1
    assert many.system < 1e-6 < few.system


def test_hessian_free_steps_come_nearer_to_the_minimum_of_a_net():
    torch.manual_seed(0)
    net, task = MLP((3,), hidden=(20, 20), activation="tanh").double(), episode()

    def slope(**settings):
        learned = IMAML(net, 1, likelihood="gaussian", strength=0.1, **settings).double()
        return learned.residuals(task).slope

    assert slope(solver="hessian-free", steps=10, iterations=8) < 1e-3
    assert slope(steps=60) > 1e-2
