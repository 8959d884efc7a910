"""Temperatures against closed forms and brute force, and what evaluation says at one."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from quickstudy import Categorical, Gaussian, MetaLearner, Mixture
from quickstudy.core.predictions import Tempered
from quickstudy.errors import MethodError
from quickstudy.evaluate import Protocol, answer, calibration, intervals
from quickstudy.evaluate.temperature import cheapest, fitted
from quickstudy.methods.memory.bars import Bars
from quickstudy.methods.memory.normals import Normals
from quickstudy.methods.metric.protonet import ProtoNet
from quickstudy.nets import Flatten
from quickstudy.tasks.glyphs import Glyphs
from quickstudy.tasks.sines import Sines


class Says(MetaLearner):
    """The same of every query, from a function of inputs."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def adapt(self, support, *noise):
        return support.y.sum()

    def predict(self, learner, x):
        return self.said(x)

    def meta_loss(self, episode, *noise):
        return episode.query.x.sum()


def sines(episodes=100, **sizes):
    return Protocol(tasks=Sines(shots=5, **sizes), episodes=episodes)


def test_a_deviation_gets_the_size_of_the_error():
    """Of a normal with mean 0 everywhere, the likeliest deviation is the root mean square of what was to be said."""
    source = sines().source()
    found = fitted(Says(lambda x: Gaussian(torch.zeros_like(x), torch.full_like(x, 0.3))), source, 100)
    y = source.batch(range(100)).query.y
    assert found == pytest.approx(float(y.square().mean().sqrt()) / 0.3, rel=1e-3)


def test_logits_get_the_scale_that_brute_force_finds():
    protocol = Protocol(tasks=Glyphs(queries=3), split="val", episodes=20)
    method = ProtoNet(Flatten((1, 28, 28)), temperature=30.0)
    found = fitted(method, protocol.source(), 20)
    nll = {t: answer(method, protocol, temperature=t).tempered.nll.mean() for t in found * np.array([0.8, 1, 1.25])}
    assert min(nll, key=nll.get) == found
    assert answer(method, protocol).nll.mean() > nll[found]


def test_answers_at_a_temperature_are_those_of_predictions_that_were_tempered():
    said = lambda x: Gaussian(0.5 * x, torch.full_like(x, 0.5))  # noqa: E731
    both = answer(Says(said), sines(6), temperature=3.0)
    plain, wider = answer(Says(said), sines(6)), answer(Says(lambda x: said(x).tempered(3.0)), sines(6))
    for found, expected in ((both, plain), (both.tempered, wider)):
        assert np.array_equal(found.nll, expected.nll)
        assert intervals(found) == intervals(expected)
        assert np.array_equal(found.values, expected.values)
    assert plain.tempered is None
    assert [each.width for each in intervals(wider)] == pytest.approx([3 * each.width for each in intervals(plain)])


def test_classes_keep_their_answers_and_change_their_certainty():
    protocol = Protocol(tasks=Glyphs(queries=3), episodes=10)
    found = answer(ProtoNet(Flatten((1, 28, 28))), protocol, temperature=50.0)
    assert np.array_equal(found.score, found.tempered.score)
    assert (found.tempered.confidence < found.confidence).all()
    assert calibration(found).ece != calibration(found.tempered).ece


def test_mixtures_of_classes_are_tempered_as_one():
    logits = torch.tensor([[[2.0, 0.0, -torch.inf]], [[0.0, 1.0, -torch.inf]]])
    said = Mixture(Categorical(logits), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(said.tempered(1.0).mean, said.mean)
    torch.testing.assert_close(said.tempered(2.0).mean, said.mean.sqrt() / said.mean.sqrt().sum(-1))
    assert said.tempered(5.0).mean[0, 2] == 0


@pytest.mark.parametrize(
    "said",
    [
        Gaussian(torch.zeros(2, 1), torch.ones(2, 1)),
        Mixture(Gaussian(torch.tensor([[[-1.0]], [[1.0]]]), torch.ones(2, 1, 1)), torch.zeros(2)),
        Normals(torch.zeros(2, 1, 3), torch.tensor([-1.0, 0.0, 1.0]).expand(2, 1, 3), torch.ones(2, 1, 3)),
        Bars(torch.tensor([0.0, 3.0, 3.0, 0.0]).expand(2, 1, 4), torch.arange(-2.0, 3.0).expand(2, 1, 5)),
    ],
    ids=lambda said: type(said).__name__,
)
def test_real_values_spread_around_the_same_mean(said):
    assert isinstance(said, Tempered)
    cool, hot = said.tempered(0.5), said.tempered(2.0)
    torch.testing.assert_close(hot.mean, said.mean)
    torch.testing.assert_close(cool.mean, said.mean)
    width = [float((each.quantile(0.9) - each.quantile(0.1)).mean()) for each in (cool, said, hot)]
    assert width == sorted(width)
    assert len(set(width)) == 3
    torch.testing.assert_close(said.tempered(1.0).nll(torch.ones(2, 1)), said.nll(torch.ones(2, 1)))


class Points(NamedTuple):
    """A prediction that has no temperature."""

    mean: torch.Tensor

    @property
    def metric(self):
        return "mse"

    def nll(self, y):
        return (y - self.mean).square().sum(-1)

    score = nll


def test_predictions_without_a_temperature_have_none():
    assert fitted(Says(Points), sines().source(), 4) is None
    assert answer(Says(Points), sines(4)).tempered is None
    with pytest.raises(MethodError, match=r"temperature=2: Points predictions have none. Leave it out"):
        answer(Says(Points), sines(4), temperature=2.0)


def test_what_is_likely_nowhere_has_none():
    assert fitted(Says(lambda x: Gaussian(x * math.nan, torch.ones_like(x))), sines().source(), 4) is None


@pytest.mark.parametrize("best", [0.003, 1.0, 700.0])
def test_the_cheapest_is_found_where_the_rest_costs_infinitely_much(best):
    def cost(t):
        return math.inf if t < best / 10 else math.log(t / best) ** 2

    assert cheapest(cost) == pytest.approx(best, rel=2e-3)
