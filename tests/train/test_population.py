"""Layers that normalise by the population see one task in every ten steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from quickstudy.evaluate import answer
from quickstudy.train.loop import GATHER_EVERY, fit
from quickstudy.train.run import RunSettings, build_method, training_source
from quickstudy.train.state import TrainState
from train.runs import Dots

STEPS = 2 * GATHER_EVERY + 3


def settings_of(method: str = "protonet", **training: Any) -> RunSettings:
    return RunSettings.read(
        {
            "method": method,
            "net": {"name": "mlp", "hidden": [8], "norm": "population"},
            "tasks": {"name": "train.runs:Dots", "ways": 4, "shots": 2, "queries": 3},
            "training": {"steps": STEPS, "batch": 3} | training,
        }
    )


def trained(run: RunSettings, evaluated: bool = False) -> dict[str, torch.Tensor]:
    state = TrainState(build_method(run), run.training)
    for _ in fit(state.method, training_source(run), state=state):
        if evaluated:
            answer(state.method, Dots(ways=4, shots=2, queries=3).source("val"), episodes=2)
    return dict(state.method.state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "method", ["protonet", "r2d2", "maml", "imaml", "imaml-hf", "reptile", "protomaml", "leo", "rfs", "finetune"]
)
def test_every_kind_of_method_gathers(method):
    run = settings_of(method)
    found = trained(run)
    (mean,) = (value for name, value in found.items() if name.endswith("mean"))
    (gathered,) = (value for name, value in found.items() if name.endswith("gathered"))
    assert gathered >= 3  # after 10, after 20, and at the end
    assert torch.isfinite(mean).all()
    assert mean.abs().sum() > 0


def test_a_task_is_seen_at_every_tenth_step_and_at_the_end():
    run = settings_of()
    state = TrainState(build_method(run), run.training)
    seen = [
        int(state.method.state_dict()["net.layers.2.gathered"])
        for _ in fit(state.method, training_source(run), state=state)
    ]
    assert seen == [0] * 9 + [1] * 10 + [2] * 3 + [3]


def test_being_evaluated_in_between_changes_nothing():
    assert same(trained(settings_of()), trained(settings_of(), evaluated=True))


def test_resumed_it_goes_on_gathering():
    run = settings_of()
    whole = TrainState(build_method(run), run.training)
    for step in fit(whole.method, training_source(run), state=whole):
        if step.number == 14:
            saved = {name: value.clone() for name, value in whole.tensors().items()}, whole.scalars()
    again = TrainState(build_method(run), run.training)
    again.restore(*saved)
    list(fit(again.method, training_source(run), state=again))
    assert same(dict(whole.method.state_dict()), dict(again.method.state_dict()))


def test_evaluated_every_task_has_the_same_statistics():
    run = settings_of()
    state = TrainState(build_method(run), run.training)
    list(fit(state.method, training_source(run), state=state))
    method = state.method.eval()
    episodes = Dots(ways=4, shots=2, queries=3).source("test").batch([0, 1])
    learners = [method.adapt(type(episodes.support)(*(part[task] for part in episodes.support))) for task in (0, 1)]
    assert torch.equal(learners[0].statistics[0].mean, learners[1].statistics[0].mean)
    method.train()
    other = [method.adapt(type(episodes.support)(*(part[task] for part in episodes.support))) for task in (0, 1)]
    assert not torch.equal(other[0].statistics[0].mean, other[1].statistics[0].mean)
