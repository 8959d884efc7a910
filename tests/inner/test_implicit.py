"""Implicit gradients against the closed form of a quadratic and finite differences of a solved problem."""

import itertools

import torch

from quickstudy import SGD, over_tasks
from quickstudy.core import tree
from quickstudy.inner.implicit import Descent, HessianFree, conjugate_gradient, hessian_product, proximal


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(n=5, seed=0):
    a = normal(n, n, seed=seed)
    return a @ a.T / n + 0.1 * torch.eye(n, dtype=torch.float64)


def test_conjugate_gradient_solves_in_as_many_iterations_as_there_are_unknowns():
    a, b = positive(), normal(5, seed=1)
    found = [conjugate_gradient(lambda v: a @ v, b, iterations) for iterations in (1, 3, 5, 40)]
    torch.testing.assert_close(found[2].x, torch.linalg.solve(a, b))
    torch.testing.assert_close(found[3].x, torch.linalg.solve(a, b))
    for solution in found[:2]:
        torch.testing.assert_close(solution.residual, (b - a @ solution.x).norm() / b.norm())
    assert found[2].residual < 1e-8


def test_conjugate_gradient_stays_where_there_is_nothing_to_solve():
    zero = torch.zeros(3, dtype=torch.float64)
    solution = conjugate_gradient(lambda v: v, zero, 4)
    assert torch.equal(solution.x, zero)
    assert torch.isfinite(solution.residual)


def test_conjugate_gradient_takes_no_step_where_the_way_bends_down():
    solution = conjugate_gradient(lambda v: -v, normal(3), 4)
    assert not solution.x.any()
    assert solution.residual == 1


def quadratic(params, a, c):
    return 0.5 * (params["t"] - c) @ a @ (params["t"] - c)


def test_a_quadratic_has_a_closed_form():
    """φ = (A + λI)⁻¹ (A c + λ θ): its derivatives in θ and in c are (A + λI)⁻¹ λ and (A + λI)⁻¹ A."""
    a, theta, c, v = positive(), normal(5, seed=1), normal(5, seed=2), normal(5, seed=3)
    theta.requires_grad_()
    c.requires_grad_()
    lam = 0.7
    end = proximal(
        quadratic, {"t": theta}, (a, c), strength=lam, solver=Descent(SGD(rate=0.2), 400), iterations=5, damping=0.0
    )
    whole = a + lam * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(end["t"], torch.linalg.solve(whole, a @ c + lam * theta))
    slopes = torch.autograd.grad(end["t"] @ v, (theta, c))
    torch.testing.assert_close(slopes[0], lam * torch.linalg.solve(whole, v))
    torch.testing.assert_close(slopes[1], a @ torch.linalg.solve(whole, v))


def test_damping_is_added_to_the_system():
    a, theta, v = positive(), normal(5, seed=1).requires_grad_(), normal(5, seed=3)
    options = {"strength": 0.7, "solver": Descent(SGD(rate=0.2), 400), "iterations": 5, "damping": 0.5}
    end = proximal(quadratic, {"t": theta}, (a, normal(5, seed=2)), **options)
    (slope,) = torch.autograd.grad(end["t"] @ v, theta)
    torch.testing.assert_close(slope, 0.7 * torch.linalg.solve(a + 1.2 * torch.eye(5, dtype=torch.float64), v))


def net_loss(params, x, y):
    return (torch.tanh(x @ params["w"] + params["b"]) - y).square().mean()


def solved(start, x, y, steps=1500):
    options = {"strength": 0.5, "solver": Descent(SGD(rate=0.3), steps), "iterations": 12, "damping": 0.0}
    return proximal(net_loss, start, (x, y), **options)


def net_start():
    return {"w": 0.3 * normal(3, 2), "b": 0.3 * normal(2, seed=1)}


def test_it_is_the_derivative_of_the_minimum():
    """Finite differences of the solved problem, in the start and in the data."""
    at = tree.map_leaves(lambda leaf: leaf.requires_grad_(), (net_start(), normal(6, 3, seed=2), normal(6, 2, seed=3)))
    flat, spec = tree.flatten(at)
    toward = {"w": normal(3, 2, seed=4), "b": normal(2, seed=5)}

    def outer(flat):
        end = solved(*tree.unflatten(flat, spec), steps=300)
        return sum((end[name] * toward[name]).sum() for name in end)

    slopes = torch.autograd.grad(outer(flat), flat)
    for i, slope in enumerate(slopes):
        direction = normal(*slope.shape, seed=10 + i)
        ends = []
        for length in (1e-5, -1e-5):
            moved = [leaf.detach() + length * direction if i == j else leaf.detach() for j, leaf in enumerate(flat)]
            ends.append(outer(moved))
        torch.testing.assert_close((ends[0] - ends[1]) / 2e-5, (slope * direction).sum(), rtol=1e-5, atol=1e-8)


def test_a_hessian_product_is_a_row_of_the_hessian():
    params, data = {"t": normal(5)}, (positive(), normal(5, seed=2))
    torch.testing.assert_close(hessian_product(quadratic, params, data, {"t": data[1]})["t"], data[0] @ data[1])


def net_outputs(params, x, y):
    return torch.tanh(x @ params["w"] + params["b"])


def of_net_outputs(outputs, x, y):
    return (outputs - y).square().mean()


def hessian_free(steps, iterations=12):
    return HessianFree(net_outputs, of_net_outputs, steps, iterations)


def test_a_hessian_free_step_solves_a_linear_model():
    a, b, theta, lam = normal(4, 5), normal(4, seed=1), normal(5, seed=2), 0.7

    def outputs(params):
        return a @ params["t"]

    def of_outputs(outputs):
        return 0.5 * (outputs - b).square().sum()

    end = HessianFree(outputs, of_outputs, 1, 5).minimum(lambda p: of_outputs(outputs(p)), {"t": theta}, (), lam)
    whole = a.T @ a + lam * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(end["t"], torch.linalg.solve(whole, a.T @ b + lam * theta))


def test_hessian_free_steps_reach_the_minimum_of_many_small_ones():
    x, y = normal(6, 3, seed=2), normal(6, 2, seed=3)
    far = Descent(SGD(rate=0.3), 1500).minimum(net_loss, net_start(), (x, y), 0.5)
    near = hessian_free(15).minimum(net_loss, net_start(), (x, y), 0.5)
    torch.testing.assert_close(near, far)


def test_a_hessian_free_step_never_climbs():
    """A start so steep that a whole step goes past the minimum."""
    x, y, start = 5 * normal(6, 3, seed=2), normal(6, 2, seed=3), tree.map_leaves(lambda leaf: 4 * leaf, net_start())

    def cost(params):
        apart = sum((params[name] - start[name]).square().sum() for name in params)
        return net_loss(params, x, y) + 0.5 * 0.01 * apart

    costs = [cost(hessian_free(steps).minimum(net_loss, start, (x, y), 0.01)) for steps in range(8)]
    assert all(later <= before for before, later in itertools.pairwise(costs))
    assert costs[-1] < 0.9 * costs[0]


def test_a_hessian_free_step_maps_over_tasks():
    x, y, start = normal(3, 6, 3, seed=2), normal(3, 6, 2, seed=3), net_start()

    def task(x, y):
        return hessian_free(2, 4).minimum(net_loss, start, (x, y), 0.5)

    torch.testing.assert_close(*(over_tasks(task, x, y, how=how) for how in ("map", "loop")))


def test_it_maps_over_tasks():
    x, y = normal(3, 6, 3, seed=2), normal(3, 6, 2, seed=3)

    def run(how):
        start = {name: leaf.requires_grad_() for name, leaf in net_start().items()}

        def task(x, y):
            return net_loss(solved(start, x, y, steps=5), x.flip(0), y)

        losses = over_tasks(task, x, y, how=how)
        return [losses, *torch.autograd.grad(losses.sum(), list(start.values()))]

    for mapped, looped in zip(run("map"), run("loop"), strict=True):
        torch.testing.assert_close(mapped, looped)
