"""Learners that read a sequence: what is said along it is what a query would be told after as many examples."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers import random_episodes, random_points
from quickstudy import Episode, Examples
from quickstudy.core import tree
from quickstudy.core.predictions import likelihood
from quickstudy.errors import MethodError
from quickstudy.methods.memory.lstm import LSTM
from quickstudy.methods.memory.mann import MANN
from quickstudy.methods.memory.sequence import SequenceLearner, delayed, drawn_order
from quickstudy.methods.memory.transformer import InContext
from quickstudy.nets import Flatten

METHODS: dict[str, tuple[type[SequenceLearner], dict[str, Any]]] = {
    "lstm": (LSTM, {"width": 8}),
    "lstm of two layers": (LSTM, {"width": 6, "layers": 2}),
    "mann": (MANN, {"width": 6, "slots": 8, "size": 3, "heads": 2}),
    "alternate tokens": (InContext, {"width": 8, "tokens": "alternate"}),
    "delayed tokens": (InContext, {"width": 8, "tokens": "delayed"}),
    "pairs": (InContext, {"width": 8, "tokens": "pairs"}),
}

one = pytest.mark.parametrize("name", METHODS)


def build(name: str, kind: str = "gaussian", outputs: int = 1, **settings) -> SequenceLearner:
    cls, usual = METHODS[name]
    torch.manual_seed(0)
    method = cls(Flatten((2,)), outputs, likelihood=kind, **{"scored": "all", **usual, **settings}).double()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return method


def upto(examples: Examples, count: int) -> Examples:
    return Examples(*(field[:count] for field in examples))


def some_classes() -> Episode:
    batch = random_episodes(tasks=1, ways=3, shots=2, queries=2, item=(2,), dtype=torch.float64)
    return tree.map_leaves(lambda leaf: leaf[0], batch)


@one
def test_each_position_is_a_query_after_those_before_it(name):
    method, points = build(name), random_points(7)
    along, _ = method.read(points.x, points.y, points.mask)
    for position in range(7):
        learner = method.adapt(upto(points, position))
        said = method.predict(learner, points.x[position : position + 1])
        torch.testing.assert_close(said.mean[0], along[position])


@one
def test_all_positions_are_scored(name):
    method, episode = build(name), Episode(random_points(3, 1), random_points(4, 2))
    every = Examples(*(torch.cat(both) for both in zip(*episode, strict=True)))
    nll = [
        method.predict(method.adapt(upto(every, i)), every.x[i : i + 1]).nll(every.y[i : i + 1])[0] for i in range(7)
    ]
    torch.testing.assert_close(method.meta_loss(episode), sum(nll) / 7)


@one
def test_the_query_alone_can_be_scored(name):
    method, episode = build(name, scored="query"), Episode(random_points(3, 1), random_points(4, 2))
    said = method.predict(method.adapt(episode.support), episode.query.x)
    torch.testing.assert_close(method.meta_loss(episode), said.nll(episode.query.y).mean())


@one
def test_classes_are_scored_in_the_order_drawn(name):
    method, episode = build(name, "categorical", 3, scored="all"), some_classes()
    noise = torch.randn(method.noise_size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    every = Examples(*(torch.cat(both) for both in zip(*episode, strict=True)))
    order = sorted(range(12), key=lambda i: float(noise[i]))
    assert order != list(range(12))
    every = Examples(*(field[order] for field in every))
    said, _ = method.read(every.x, every.y.double(), every.mask)
    torch.testing.assert_close(method.meta_loss(episode, noise), likelihood("categorical", said).nll(every.y).mean())


@one
def test_the_order_of_the_support_matters(name):
    """It is why the tag says so."""
    method, points = build(name), random_points(5)
    turned = Examples(*(field.flip(0) for field in points))
    asked = random_points(3, 1).x
    said, other = (method.predict(method.adapt(each), asked).mean for each in (points, turned))
    assert (said - other).abs().max() > 1e-4


@one
def test_without_support_there_is_an_answer(name):
    method, asked = build(name), random_points(3, 1).x
    none = method.predict(method.adapt(random_points(0)), asked)
    hidden = random_points(2)._replace(mask=torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(method.predict(method.adapt(hidden), asked).mean, none.mean)


def test_a_label_comes_with_the_next_input():
    y = torch.arange(1.0, 6.0)[:, None]
    before, last = delayed(y, torch.tensor([True, True, False, True, False]))
    assert before[:, 0].tolist() == [0, 1, 2, 2, 4]
    assert last.tolist() == [4]
    before, last = delayed(y[:0], torch.ones(0, dtype=torch.bool))
    assert before.shape == (0, 1)
    assert last.tolist() == [0]


def test_a_drawn_order_is_of_what_counts():
    noise = torch.tensor([0.3, -1.0, 2.0, 0.1])
    order = drawn_order(torch.tensor([False, True, True, False, True])[:4], noise)
    assert order[:2].tolist() == [2, 1]
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    with pytest.raises(MethodError, match="a sequence of 5 examples is longer than the 4"):
        drawn_order(torch.ones(5, dtype=torch.bool), noise)
