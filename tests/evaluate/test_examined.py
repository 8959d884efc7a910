"""What methods measure of themselves, over a protocol's episodes."""

import dataclasses

import numpy as np
import pytest
import torch

from quickstudy import SGD, Examples, MetaLearner
from quickstudy.core import chance
from quickstudy.core.episode import Episode
from quickstudy.core.predictions import Gaussian
from quickstudy.evaluate import Protocol, t_interval
from quickstudy.evaluate.examined import examined
from quickstudy.methods.gradient.imaml import IMAML
from quickstudy.methods.gradient.maml import MAML
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines


def protocol(episodes: int = 5) -> Protocol:
    return Protocol(tasks=Sines(shots=5), episodes=episodes)


def test_imaml_says_how_near_it_came() -> None:
    torch.manual_seed(0)
    method = IMAML(MLP((1,), hidden=(8,)), 1, steps=4, rule=SGD(rate=0.01), likelihood="gaussian")
    found = {each.name: each for each in examined(method, protocol(5), episodes=4)}
    drawn = protocol(5).source().batch(range(4))
    each = [method.residuals(Episode(*(Examples(*(f[i] for f in part)) for part in drawn))) for i in range(4)]
    for name, at in (("slope left by the inner steps", 0), ("residual of the linear system", 1)):
        expected = t_interval([float(residuals[at]) for residuals in each])
        assert found[name].mean == pytest.approx(expected.mean, rel=1e-4)
        assert found[name].low == pytest.approx(expected.low, rel=1e-3)
        assert found[name].high == pytest.approx(expected.high, rel=1e-3)
    assert len(found) == 2
    assert method.training


class Told(MetaLearner):
    """Measures the chance that it was given, and whether it was being trained."""

    noise_size = 2

    def adapt(self, support, *noise):
        return noise[0]

    def predict(self, learner, x):
        return Gaussian(x, torch.ones_like(x))

    def meta_loss(self, episode, *noise):
        return episode.query.x.sum()

    def examine(self, episode, *noise):
        return {"first": noise[0][0], "training": torch.tensor(float(self.training))}


def test_it_is_asked_with_the_noise_of_the_evaluation_itself() -> None:
    asked = protocol(70)  # more than are drawn at a time
    first, training = examined(Told(), asked, episodes=66)
    noise = chance.noise(chance.key("evaluate", asked.digest), range(66), 2)[:, 0]
    assert first.mean == pytest.approx(float(np.mean(noise.tolist())), rel=1e-5)
    assert dataclasses.astuple(training) == ("training", 0.0, 0.0, 0.0)


def test_most_methods_have_nothing_to_say() -> None:
    assert examined(MAML(MLP((1,)), 1, likelihood="gaussian"), protocol()) == ()
