"""MAML++ against MAML at each of its steps."""

import math

import pytest
import torch

from helpers import random_episodes
from quickstudy import MAML, SGD, Episode, Training, fit, over_tasks
from quickstudy.core import tree
from quickstudy.core.episode import masked_mean, to_device
from quickstudy.methods.gradient.mamlpp import MAMLPlusPlus
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines
from quickstudy.train.compiled import WholeStep


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


def build(norm: str = "none", **settings) -> MAMLPlusPlus:
    torch.manual_seed(0)
    return MAMLPlusPlus(MLP((3,), hidden=(6,), activation="tanh", norm=norm), 4, rate=0.2, **settings).double()


@pytest.mark.parametrize("early", [0.0, 0.3, 1.0])
def test_its_loss_weighs_those_of_maml_after_each_step(early):
    method, episode = build(steps=3, early=early), one()
    maml = MAML(method.net, 4, rule=SGD(rate=0.2)).double()
    maml.head.load_state_dict(method.head.state_dict())
    query = episode.query
    each = [
        masked_mean(maml.predict(maml.adapt_for(episode.support, steps), query.x).nll(query.y), query.mask)
        for steps in (1, 2, 3)
    ]
    expected = early * (each[0] + each[1]) / 2 + (1 - early) * each[2]
    loss = method.meta_loss(episode)
    torch.testing.assert_close(loss, expected)
    slopes = torch.autograd.grad(loss, list(method.net.parameters()))
    for slope, want in zip(slopes, torch.autograd.grad(expected, list(method.net.parameters())), strict=True):
        torch.testing.assert_close(slope, want)


def test_every_layer_and_step_has_a_rate():
    method, episode = build(steps=3), one()
    assert {name: tuple(rate.shape) for name, rate in method.rates.items()} == {
        "net/layers/1/weight": (3,),
        "net/layers/1/bias": (3,),
        "head/weight": (3,),
        "head/bias": (3,),
    }
    assert all(torch.allclose(rate.exp(), torch.full_like(rate, 0.2)) for rate in method.rates.values())
    with torch.no_grad():
        for rate in method.rates.values():
            rate[1:] = -math.inf
    two, five = (method.adapt_for(episode.support, steps).weights for steps in (1, 5))
    assert all(torch.equal(two[name], five[name]) for name in two)


def test_rates_are_learned_as_published_where_asked():
    log, linear, episode = build(steps=3), build(steps=3, space="linear"), one()
    assert all(torch.allclose(rate, torch.full_like(rate, 0.2)) for rate in linear.rates.values())
    losses = [method.meta_loss(episode) for method in (log, linear)]
    torch.testing.assert_close(*losses)
    by_share, plain = (
        torch.autograd.grad(loss, list(method.rates.values()))
        for loss, method in zip(losses, (log, linear), strict=True)
    )
    for share, slope in zip(by_share, plain, strict=True):
        torch.testing.assert_close(share, 0.2 * slope)


def normed(**settings) -> MAMLPlusPlus:
    """With scales and shifts that differ from step to step."""
    method = build(norm="support", **settings)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for each in (*method.net.layers[2].parameters(), *method.norms.values()):
            each.add_(0.3 * torch.randn(each.shape, generator=generator, dtype=each.dtype))
    return method


def by_hand(method: MAMLPlusPlus, episode: Episode, steps: int) -> list[torch.Tensor]:
    """The query's loss at every point of the path: a step goes down the loss with the numbers of where it starts."""
    first, norm = method.net.layers[1], method.net.layers[2]
    weights = [first.weight, first.bias, method.head.weight, method.head.bias]
    scales = [norm.weight, *method.norms["net/layers/2/weight"]]
    shifts = [norm.bias, *method.norms["net/layers/2/bias"]]
    support, query = episode

    def loss(at: list[torch.Tensor], number: int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        hidden, seen = x @ at[0].T + at[1], support.x @ at[0].T + at[1]
        known = (hidden - seen.mean(0)) * (seen.var(0, correction=0) + 1e-5).rsqrt()
        number = min(number, method.steps)
        logits = torch.tanh(known * scales[number] + shifts[number]) @ at[2].T + at[3]
        return -(logits.log_softmax(-1) * y).sum(-1).mean()

    losses = [loss(weights, 0, query.x, query.y)]
    for number in range(steps):
        slopes = torch.autograd.grad(loss(weights, number, support.x, support.y), weights, create_graph=True)
        names = ("net/layers/1/weight", "net/layers/1/bias", "head/weight", "head/bias")
        rates = [method.rates[name][min(number, method.steps - 1)].exp() for name in names]
        weights = [weight - rate * slope for weight, rate, slope in zip(weights, rates, slopes, strict=True)]
        losses.append(loss(weights, number + 1, query.x, query.y))
    return losses


def test_every_step_has_scales_and_shifts_of_its_own():
    """Before the first step the net's, after each those of its number; further steps take the last."""
    method, episode = normed(steps=3, early=0.4), one()
    assert {name: tuple(leaf.shape) for name, leaf in method.norms.items()} == {
        "net/layers/2/weight": (3, 6),
        "net/layers/2/bias": (3, 6),
    }
    assert not any("layers/2" in name for name in method.rates)
    losses, query = by_hand(method, episode, 5), episode.query
    for steps, expected in enumerate(losses):
        said = method.predict(method.adapt_for(episode.support, steps), query.x)
        torch.testing.assert_close(masked_mean(said.nll(query.y), query.mask), expected)
    expected = 0.4 * (losses[1] + losses[2]) / 2 + 0.6 * losses[3]
    loss = method.meta_loss(episode)
    torch.testing.assert_close(loss, expected)
    wanted = list(method.parameters())
    for slope, want in zip(torch.autograd.grad(loss, wanted), torch.autograd.grad(expected, wanted), strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(slope, want)


def test_the_gradient_of_every_scale_and_shift_is_that_of_finite_differences():
    method, episode = normed(steps=3), one()
    method.meta_loss(episode).backward()
    moved = [*method.net.layers[2].parameters(), *method.norms.values()]
    for weight in moved:
        flat, slope = weight.detach().view(-1), weight.grad.view(-1)
        for place in range(len(flat)):
            around = []
            for length in (1e-6, -2e-6):
                flat[place] += length
                around.append(method.meta_loss(episode).item())
            flat[place] += 1e-6
            torch.testing.assert_close(slope[place].item(), (around[0] - around[1]) / 2e-6, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("gradient", ["exact", "first-order"])
def test_tasks_together_are_tasks_one_by_one(gradient):
    method = normed(steps=3, gradient=gradient)
    episodes = random_episodes(tasks=3, item=(3,), dtype=torch.float64)
    found = {}
    for how in ("loop", "map"):
        losses = over_tasks(method, episodes, how=how)
        found[how] = losses, *torch.autograd.grad(losses.mean(), list(method.parameters()), materialize_grads=True)
    for mapped, looped in zip(found["map"], found["loop"], strict=True):
        torch.testing.assert_close(mapped, looped)


def test_a_net_that_it_starts_from_brings_its_scales_and_shifts():
    method, other = build(norm="support", steps=2), normed(steps=2)
    method.start_from(other)
    for part, name in (("weight", "net/layers/2/weight"), ("bias", "net/layers/2/bias")):
        torch.testing.assert_close(method.norms[name], other.net.layers[2].get_parameter(part).expand(2, -1))


def test_what_no_step_differentiates_stays_while_the_gradient_is_first_order():
    """Those numbers that only the first inner loss depends on; training goes on beside them."""
    method = waves("support", gradient="first-order")
    before = {name: leaf.clone() for name, leaf in method.state_dict().items()}
    for _ in fit(method, Sines(shots=4, queries=4).source("train"), Training(steps=2, batch=2)):
        pass
    norms = [name for name in before if "layers.2" in name or name.startswith("norms.")]
    stayed = [name for name in norms if torch.equal(method.state_dict()[name], before[name])]
    assert stayed == ["net.layers.2.weight", "net.layers.2.bias"]
    assert len(norms) == 4


def test_one_step_has_one_loss():
    method, episode = build(steps=1, early=0.6), one()
    query = episode.query
    said = method.predict(method.adapt(episode.support), query.x)
    torch.testing.assert_close(method.meta_loss(episode), masked_mean(said.nll(query.y), query.mask))


def test_its_loss_moves_to_the_last_step_as_training_goes_on():
    method, episode = build(steps=3, early=0.1, annealed=0.5), one()
    each = method.meta_loss(episode)
    method.reach(0.0)
    even = method.meta_loss(episode)
    method.reach(0.25)
    half = method.meta_loss(episode)
    method.reach(0.5)
    torch.testing.assert_close(method.meta_loss(episode), each)
    torch.testing.assert_close(half, (even + each) / 2)
    method.early = 2 / 3  # what even weights of three steps are
    method.reach(1.0)
    torch.testing.assert_close(method.meta_loss(episode), even)


def waves(norm: str = "none", **settings) -> MAMLPlusPlus:
    torch.manual_seed(0)
    return MAMLPlusPlus(MLP((1,), hidden=(6,), norm=norm), 1, rate=0.01, likelihood="gaussian", **settings)


def test_its_rates_do_not_run_away_on_sines():
    """At the outer rate of the sines board, where rates learned as such end training at step 48, at a loss of 1e28."""
    torch.manual_seed(0)
    method = MAMLPlusPlus(MLP((1,), hidden=(40, 40)), 1, rate=0.01, likelihood="gaussian")
    asked = Training(steps=60, batch=25, rate=0.004, clip=1.0)
    losses = [step.loss for step in fit(method, Sines(shots=10, queries=10).source("train"), asked)]
    assert max(losses) < 10
    assert all((rate - math.log(0.01)).abs().max() < 0.5 for rate in method.rates.values())


def test_training_tells_it_how_far_it_has_come(monkeypatch):
    told, method = [], waves(first_order=0.5)
    reach = method.reach

    def noted(done):
        reach(done)
        told.append((done, method.stage))

    monkeypatch.setattr(method, "reach", noted)
    for _ in fit(method, Sines(shots=4, queries=4).source("train"), Training(steps=4, batch=2)):
        pass
    assert told == [(0.0, "first-order"), (0.25, "first-order"), (0.5, "exact"), (0.75, "exact")]


@pytest.mark.parametrize("norm", ["none", "support"])
def test_a_compiled_step_follows(norm):
    method, source = waves(norm, first_order=0.5), Sines(shots=4, queries=4).source("train")
    episodes = to_device(source.batch(range(2)), torch.device("cpu"))
    step = WholeStep(method, backend="eager")
    found = {}
    for done in (0.0, 0.4, 0.9):
        method.reach(done)
        loss, slopes = step(episodes)
        method.zero_grad()
        eager = over_tasks(method, episodes, how="loop").mean()
        eager.backward()
        torch.testing.assert_close(loss, eager.detach())
        for name, weight in method.named_parameters():
            grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            torch.testing.assert_close(slopes[name], grad)
        found[done] = loss
    assert found[0.0] != found[0.4]
