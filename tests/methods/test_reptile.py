"""Reptile against torch's own training loop."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers import random_episodes
from quickstudy import SGD, Adam, Episode, Examples
from quickstudy.core import tree
from quickstudy.methods.gradient.reptile import Reptile, dealt
from quickstudy.nets import MLP


def one(seed: int = 0) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64, seed=seed))


def method(**settings) -> Reptile:
    torch.manual_seed(0)
    return Reptile(MLP((3,), hidden=(6,), activation="tanh"), 4, **settings).double()


def test_its_gradient_is_the_papers_update():
    """θ - φ, with φ from an ordinary loop of torch.optim over the batches of support and query together."""
    learned, episode = method(train_steps=5, batches=3, rule=SGD(rate=0.3)), one()
    twin = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    with torch.no_grad():
        for mine, theirs in zip(twin.parameters(), learned.parameters(), strict=True):
            mine.copy_(theirs)
    x = torch.cat([episode.support.x, episode.query.x])
    labels = torch.cat([episode.support.y, episode.query.y]).int().argmax(-1)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.3)
    for step in range(5):
        optimizer.zero_grad()
        F.cross_entropy(twin(x[step % 3 :: 3]), labels[step % 3 :: 3]).backward()
        optimizer.step()
    loss = learned.meta_loss(episode)
    slopes = torch.autograd.grad(loss, list(learned.parameters()))
    moves = [
        before.detach() - after.detach() for before, after in zip(learned.parameters(), twin.parameters(), strict=True)
    ]
    for slope, move in zip(slopes, moves, strict=True):
        torch.testing.assert_close(slope, move)
    torch.testing.assert_close(loss, 0.5 * sum(move.square().sum() for move in moves))


def test_an_outer_step_of_one_lands_where_training_ended():
    learned, episode = method(train_steps=4, batches=1), one()
    optimizer = torch.optim.SGD(learned.parameters(), lr=1.0)
    learned.meta_loss(episode).backward()
    optimizer.step()
    slopes = torch.autograd.grad(learned.meta_loss(episode), list(learned.parameters()))
    assert any(slope.abs().max() > 0 for slope in slopes)
    fresh = method(train_steps=4, batches=1, rule=Adam(rate=0.005, decay1=0.0))
    both = Examples(*(torch.cat(halves) for halves in zip(*episode, strict=True)))
    ended = fresh.adapt_for(both, 4).weights
    for name, weight in learned.named_parameters():
        torch.testing.assert_close(weight.detach(), ended[name].detach())


def test_padding_moves_no_example_to_another_batch():
    x = torch.arange(7.0)[:, None]
    plain = Examples(x, x, torch.ones(7, dtype=torch.bool))
    mask = torch.tensor([False, True, True, False, True, True, True, True, True, False])
    padded = torch.full((10, 1), -1.0)
    padded[mask] = x
    for got, want in zip(dealt(Examples(padded, padded, mask), 3), dealt(plain, 3), strict=True):
        assert torch.equal(got.x[got.mask], want.x)
