"""Evaluation against arithmetic by hand: masks, noise, steps, shapes, and how tasks are run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from quickstudy import MAML, SGD, Categorical, Episode, Examples, ProtoNet, QueryScored
from quickstudy.core import chance
from quickstudy.errors import MethodError, SettingsError, TaskError
from quickstudy.evaluate import Protocol, answer, evaluate
from quickstudy.methods.bayesian.abml import ABML
from quickstudy.methods.gradient.tnet import TNet
from quickstudy.nets import MLP
from quickstudy.tasks.fewshot import FewShotSource
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.sines import Sines
from quickstudy.tasks.source import TaskSource


class Echo(QueryScored):
    """Says class 0 with the probability that is the query's only number; what it adapts to is noise."""

    def adapt(self, support: Examples, *noise: torch.Tensor) -> torch.Tensor:
        return noise[0] if noise else support.x.sum()

    def predict(self, learner: Any, x: torch.Tensor) -> Categorical:
        p = x[:, 0] if not self.noise_size else torch.sigmoid(learner[0]).expand(len(x))
        return Categorical(torch.stack([p, 1 - p], 1).log())


class Noisy(Echo):
    noise_size = 3


class Given(TaskSource):
    """Two queries an episode, of which the last is padding in odd episodes; all of class 0."""

    item, outputs = (1,), 2

    @property
    def identity(self) -> dict[str, Any]:
        return {"tasks": "given"}

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Episode:
        t = len(indices)
        x = torch.tensor([[[0.9], [0.2]]]).expand(t, -1, -1).clone()
        y = torch.tensor([[[True, False]] * 2]).expand(t, -1, -1).clone()
        mask = torch.tensor([[True, i % 2 == 0] for i in indices])
        return Episode(Examples(x, y, torch.ones_like(mask)), Examples(x, y, mask))


def pool_source(**sizes: Any) -> FewShotSource:
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    x += np.repeat(np.eye(12, 4), 5, 0).astype(np.float32) * 3
    return FewShotSource(Pool.from_arrays(x, np.repeat(np.arange(12), 5), name="p"), **({"queries": 2} | sizes))


def test_figures_are_means_over_what_is_not_padding() -> None:
    found = answer(Echo(), Given(), episodes=4)
    assert found.values.tolist() == [0.5, 1.0, 0.5, 1.0]
    assert found.score.tolist() == [1, 0, 1, 1, 0, 1]
    expected = -np.log([0.9, 0.2, 0.9, 0.9, 0.2, 0.9])
    assert found.nll == pytest.approx(expected)
    assert found.confidence == pytest.approx([0.9, 0.8, 0.9, 0.9, 0.8, 0.9])
    assert found.brier == pytest.approx([0.02, 1.28, 0.02, 0.02, 1.28, 0.02])
    assert found.classes is None
    made = evaluate(Echo(), Given(), episodes=4, name="echo")
    assert (made.name, made.metric, made.mean, made.class_low) == ("echo", "accuracy", 0.75, None)
    assert made.nll == pytest.approx(expected.mean())
    assert made.digest == Given().digest(range(4))
    assert made.low < 0.75 < made.high


def test_regression_is_measured_by_squared_error() -> None:
    torch.manual_seed(0)
    method = MAML(MLP((1,)), 1, steps=2, rule=SGD(rate=0.01), likelihood="gaussian")
    protocol = Protocol(tasks=Sines(shots=5), episodes=6)
    made = evaluate(method, protocol, name="maml")
    episodes = protocol.source().batch(range(6))
    for i, value in enumerate(made.values):
        support, query = (Examples(*(leaf[i] for leaf in part)) for part in episodes)
        by_hand = (method.predict(method.adapt(support), query.x).mean - query.y).square().mean()
        assert value == pytest.approx(by_hand.item(), rel=1e-4)
    assert made.metric == "mse"
    assert made.mean == pytest.approx(np.mean(made.values))
    assert made.class_low is None


def test_the_way_tasks_are_run_changes_nothing() -> None:
    source = pool_source(ways=3)
    method = ProtoNet(MLP((4,)))
    whole = answer(method, source, episodes=7)
    for options in ({"batch": 3}, {"how": "loop"}, {"how": "map"}, {"chunk": 2}):
        other = answer(method, source, episodes=7, **options)
        assert other.values == pytest.approx(whole.values, abs=1e-6)
        assert other.nll == pytest.approx(whole.nll, rel=1e-4)
    assert whole.classes is not None
    assert (whole.classes == source.classes(range(7))).all()
    made = evaluate(method, source, episodes=7, name="p")
    assert made.class_low is not None
    assert made.class_high is not None
    assert made.class_low <= made.mean <= made.class_high


def test_noise_depends_on_the_episode_alone() -> None:
    source = Given()
    whole = answer(Noisy(), source, episodes=6)
    split = answer(Noisy(), source, episodes=6, batch=4, how="loop")
    assert whole.confidence == pytest.approx(split.confidence)
    drawn = chance.noise(chance.key("evaluate", source.digest(range(6))), [5], 3)[0, 0]
    p = torch.sigmoid(drawn)
    assert whole.confidence[-1] == pytest.approx(float(torch.maximum(p, 1 - p)))


def test_varying_ways_are_evaluated_in_their_own_shapes() -> None:
    method = ProtoNet(MLP((4,)))
    source = pool_source(ways=(2, 5))
    found = answer(method, source, episodes=20)
    alone = [answer(method, source, episodes=20, batch=1).values, found.values]
    assert alone[0] == pytest.approx(alone[1])
    assert found.classes is not None
    ways = (found.classes >= 0).sum(1)
    assert set(ways.tolist()) <= {2, 3, 4, 5}
    assert len(set(ways.tolist())) > 1
    assert len(found.score) == 2 * ways.sum()


def test_what_a_source_cannot_give_is_its_own_error() -> None:
    class Broken(Given):
        def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Episode:
            raise TaskError(f"episode {indices[0]} is not there")

    with pytest.raises(TaskError, match="episode 0 is not there"):
        answer(Echo(), Broken(), episodes=4)


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    answer(Echo(), Given(), episodes=5, batch=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_no_gradient_is_recorded_and_the_mode_is_given_back() -> None:
    class Watch(Echo):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)
            self.scale = nn.Parameter(torch.ones(()))

        def predict(self, learner: Any, x: torch.Tensor) -> Categorical:
            assert not (x * self.scale).requires_grad
            assert not self.training
            return super().predict(learner, self.drop(x))

    method = Watch().train()
    answer(method, Given(), episodes=2)
    assert method.training


def test_methods_in_double_precision_get_doubles() -> None:
    found = answer(ProtoNet(MLP((4,))).double(), pool_source(ways=3), episodes=3, device="cpu")
    assert np.isfinite(found.nll).all()


def test_steps_are_for_methods_that_step() -> None:
    with pytest.raises(SettingsError, match="steps=3: Echo does not adapt in steps"):
        answer(Echo(), Given(), episodes=2, steps=3)
    method = MAML(MLP((1,)), 1, steps=1, rule=SGD(rate=0.01), likelihood="gaussian")
    protocol = Protocol(tasks=Sines(), episodes=4)
    before, after = (answer(method, protocol, steps=s).values for s in (0, 1))
    assert (before != after).all()
    assert answer(method, protocol).values == pytest.approx(after)


@pytest.mark.parametrize(("method_class", "changed"), [(ABML, {"spread": 0.1}), (TNet, {"masked": True})])
def test_methods_that_step_keep_their_noise_when_asked_for_steps(method_class: type[Any], changed: dict[str, Any]):
    torch.manual_seed(0)
    method = method_class(MLP((1,)), 1, steps=2, likelihood="gaussian", **changed)
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    protocol = Protocol(tasks=Sines(), episodes=6)
    own = answer(method, protocol)
    asked = answer(method, protocol, steps=2)
    assert asked.values == pytest.approx(own.values)
    assert asked.nll == pytest.approx(own.nll)
    assert answer(method, protocol, steps=1).values != pytest.approx(own.values)


def test_episodes_are_said_once() -> None:
    with pytest.raises(SettingsError, match="say how many episodes to take"):
        answer(Echo(), Given())
    with pytest.raises(SettingsError, match="the protocol says 4 already"):
        answer(Echo(), Protocol(tasks=Sines(), episodes=4), episodes=5)


def test_predictions_of_the_wrong_kind_are_refused() -> None:
    method = MAML(MLP((1,)), 1, steps=1)
    with pytest.raises(MethodError, match=r"MAML gives Categorical predictions.*likelihood, 'gaussian'"):
        answer(method, Protocol(tasks=Sines(), episodes=4), steps=0)
