"""WarpGrad against MAML, Reptile's update, and finite differences from points that are held."""

import torch

from helpers import random_episodes
from quickstudy import MAML, SGD, Episode
from quickstudy.core import tree
from quickstudy.methods.gradient.warpgrad import WarpGrad
from quickstudy.nets import MLP


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


def build(**settings) -> WarpGrad:
    torch.manual_seed(0)
    return WarpGrad(MLP((3,), hidden=(6,), activation="tanh"), 4, rate=0.3, **settings).double()


def moved(method: WarpGrad) -> WarpGrad:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype), alpha=0.1)
    return method


def test_its_warp_layers_start_as_nothing():
    method, episode = build(steps=3), one()
    maml = MAML(method.net.body, 4, steps=3, rule=SGD(rate=0.3)).double()
    maml.head.load_state_dict(method.head.state_dict())
    said = method.predict(method.adapt(episode.support), episode.query.x)
    torch.testing.assert_close(said.logits, maml.predict(maml.adapt(episode.support), episode.query.x).logits)


def test_warp_layers_do_not_adapt():
    weights = moved(build()).adapt(one().support).weights
    assert not any(name.startswith(("net.warp", "transform")) for name in weights)


def test_the_start_moves_to_the_end_of_the_path_alone():
    method, episode = moved(build(steps=3)), one()
    end = method.adapt(episode.support).weights
    method.meta_loss(episode).backward()
    for name, weight in end.items():
        start = method.get_parameter(name)
        torch.testing.assert_close(start.grad, (start - weight).detach())


def test_warp_layers_are_scored_one_step_on_from_held_points():
    method, episode = moved(build(steps=3)), one()
    method.meta_loss(episode).backward()
    start, warps = method._parts()
    points = tree.map_leaves(torch.Tensor.detach, method._path(start, warps, episode.support, 3, "first-order"))[:3]

    def score() -> torch.Tensor:
        ahead = [method._path(point, warps, episode.support, 1, "exact")[-1] for point in points]
        return sum(method._score(weights, warps, episode) for weights in ahead) / 3

    for name, weight in warps.items():
        assert weight.grad.abs().max() > 0, name
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        ends = []
        for length in (1e-6, -2e-6):
            with torch.no_grad():
                weight.add_(direction, alpha=length)
                ends.append(score())
        with torch.no_grad():
            weight.add_(direction, alpha=1e-6)
        torch.testing.assert_close((ends[0] - ends[1]) / 2e-6, (weight.grad * direction).sum(), rtol=1e-5, atol=1e-8)
