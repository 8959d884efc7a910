"""Stein steps against their formula pair by pair, and the chaser loss against steps taken by hand."""

import pytest
import torch

from quickstudy.core import tree
from quickstudy.inner import SGD
from quickstudy.methods.bayesian.bmaml import BMAML
from quickstudy.methods.bayesian.svgd import SVGD
from quickstudy.methods.gradient.maml import MAML
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines


def episode():
    def double(leaf):
        return leaf[0].double() if leaf.is_floating_point() else leaf[0]

    return tree.map_leaves(double, Sines(shots=6, queries=4).source().batch([0]))


def net():
    torch.manual_seed(0)
    return MLP((1,), hidden=(5,))


def test_a_step_is_steins_with_the_kernels_slope_by_autograd():
    m, generator = 4, torch.Generator().manual_seed(0)
    params = {"a": torch.randn(m, 2, 3, generator=generator), "b": torch.randn(m, generator=generator)}
    slope = {name: torch.randn(leaf.shape, generator=generator) for name, leaf in params.items()}
    moved, _ = SVGD(rate=0.3, repulsion=0.7).step(params, slope, (), {})

    at, g = (torch.cat([each["a"].flatten(1), each["b"][:, None]], 1) for each in (params, slope))
    squares = sorted(((at[i] - at[j]) ** 2).sum().item() for i in range(m) for j in range(i))
    width = squares[len(squares) // 2] / torch.tensor(float(m)).log()
    for i in range(m):
        step = torch.zeros_like(at[i])
        for j in range(m):
            from_ = at[j].clone().requires_grad_()
            k = torch.exp(-((from_ - at[i]) ** 2).sum() / width)
            (away,) = torch.autograd.grad(k, from_)
            step += (k.detach() * g[j] - 0.7 * away) / m
        expected = at[i] - 0.3 * step
        got = torch.cat([moved["a"][i].flatten(), moved["b"][i : i + 1]])
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_particles_take_on_the_spread_of_a_normal():
    """Slopes of -log N(x; 1, 0.5²), all examples at once: repulsion 1."""
    params = {"x": torch.linspace(-3, 3, 40, dtype=torch.float64)[:, None]}
    rule = SVGD(rate=0.1, repulsion=1.0)
    for _ in range(1500):
        params, _ = rule.step(params, {"x": (params["x"] - 1) / 0.25}, (), {})
    assert params["x"].mean().item() == pytest.approx(1, abs=0.02)
    assert params["x"].std().item() == pytest.approx(0.5, abs=0.06)


def test_one_particle_is_maml():
    support = episode().support
    one = BMAML(net(), 1, particles=1, rate=0.05, likelihood="gaussian").double()
    maml = MAML(net(), 1, rule=SGD(rate=0.05), likelihood="gaussian").double()
    maml.head.load_state_dict(one.heads[0].state_dict())
    x = torch.linspace(-5, 5, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(one.predict(one.adapt(support), x).mean, maml.predict(maml.adapt(support), x).mean)


def test_particles_start_apart_and_are_pulled_to_where_more_steps_on_more_data_lead():
    task = episode()
    method = BMAML(net(), 1, particles=3, steps=2, lead=3, rate=0.02, likelihood="gaussian").double()
    weights = [parts[0].weight for parts in (method.net.layers[1:], *(each.layers[1:] for each in method.others))]
    assert not any(torch.equal(weights[i], weights[j]) for i in range(3) for j in range(i))

    both = type(task.support)(*(torch.cat(each) for each in zip(*task, strict=True)))
    near = tree.stack([each.weights for each in method.adapt(task.support)])
    ahead = method._stepped(near, both, 3)
    expected = sum((near[name] - ahead[name]).square().sum() for name in near)
    loss = method.meta_loss(task)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.heads.parameters())


def test_the_querys_loss_is_that_of_the_mixture_and_learns_the_deviation():
    task = episode()
    method = BMAML(net(), 1, particles=3, rate=0.02, deviation=1.5, loss="query", likelihood="gaussian").double()
    said = method.predict(method.adapt(task.support), task.query.x)
    normal = torch.distributions.Normal(said.parts.mean[..., 0], 1.5)
    together = normal.log_prob(task.query.y[:, 0]).exp().mean(0).log()
    loss = method.meta_loss(task)
    torch.testing.assert_close(loss, -together.mean(), rtol=1e-6, atol=1e-8)  # of the deviation in float32
    loss.backward()
    assert method.log_deviation.grad.abs() > 0
    chased = BMAML(net(), 1, deviation=1.5, likelihood="gaussian")
    assert "log_deviation" not in dict(chased.named_parameters())
