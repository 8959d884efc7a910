"""ABML's inner steps against the optimum of the bound, known in closed form for a linear net."""

import math

import torch

from quickstudy.core.episode import Episode, Examples
from quickstudy.inner import SGD
from quickstudy.methods.bayesian.abml import ABML
from quickstudy.nets import Flatten

POINTS = 8


def support() -> Examples:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(POINTS, 1, generator=generator, dtype=torch.float64)
    return Examples(x, 2 * x - 1 + 0.1 * torch.randn(x.shape, generator=generator), torch.ones(POINTS, dtype=bool))


def linear(**settings) -> ABML:
    torch.manual_seed(0)
    chosen = {"spread": 0.5, "divergence": 1.0, "samples": 2, "likelihood": "gaussian", **settings}
    return ABML(Flatten((1,)), 1, **chosen).double()


def test_many_steps_reach_the_optimum_of_the_bound():
    """y = wx + b: ridge regression for the means, and a deviation for each weight.

    With all four signs of two numbers for noise, the mean over draws is the expectation of any square.
    """
    method = linear(inner_samples=4, rule=SGD(rate=0.4))
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    noise = torch.cat([signs.flatten(), torch.zeros(4, dtype=torch.float64)])
    with torch.no_grad():
        found, _ = method._inferred(support(), 400, noise)
    x, y, _ = support()
    basis = torch.cat([x, torch.ones_like(x)], 1)
    start = torch.stack([method.head.weight[0, 0], method.head.bias[0]]).detach()
    # mean (y - basis·w)² + ‖w - start‖² / (2 · points · 0.5²), where squared error is the nll of deviation √½
    weight = 1 / (2 * POINTS * 0.25)
    expected = torch.linalg.solve(
        basis.T @ basis / POINTS + weight * torch.eye(2, dtype=torch.float64),
        basis.T @ y[:, 0] / POINTS + weight * start,
    )
    means = torch.stack([found.mean["head.weight"][0, 0], found.mean["head.bias"][0]])
    torch.testing.assert_close(means, expected, rtol=1e-6, atol=1e-6)
    variance = (1 / POINTS) / (2 * basis.square().mean(0) + 1 / (POINTS * 0.25))
    stds = torch.stack([found.log_std["head.weight"][0, 0], found.log_std["head.bias"][0]]).exp()
    torch.testing.assert_close(stds, variance.sqrt(), rtol=1e-5, atol=1e-6)


def test_no_steps_draw_from_the_prior():
    method = linear(steps=0)
    noise = torch.arange(1.0, method.noise_size + 1, dtype=torch.float64)
    members = method.adapt(support(), noise)
    first = method.inner_samples * 2  # numbers that the inner loop takes
    for at, member in enumerate(members):
        row = noise[first + 2 * at : first + 2 * at + 2]
        drawn = torch.stack([member.weights["head.weight"][0, 0], member.weights["head.bias"][0]])
        prior = torch.stack([method.head.weight[0, 0], method.head.bias[0]])
        torch.testing.assert_close(drawn, prior + 0.5 * row)


def test_the_noise_of_real_values_is_learned():
    method = linear(steps=3, rule=SGD(rate=0.05))
    task = support()
    method.meta_loss(Episode(task, task), torch.zeros(method.noise_size).double()).backward()
    assert method.log_deviation.grad.abs() > 0
    said = method.predict(method.adapt(task), task.x)
    assert (said.parts.std - math.sqrt(0.5)).abs().max() < 1e-6
