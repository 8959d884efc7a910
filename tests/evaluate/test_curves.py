"""Curves are evaluations, one a point."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from quickstudy import MAML, SGD, ProtoNet
from quickstudy.errors import SettingsError, TaskError
from quickstudy.evaluate import Protocol, evaluate, shots_curve, steps_curve
from quickstudy.nets import MLP, Flatten
from quickstudy.tasks.fewshot import ArrayTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.sines import Sines
from quickstudy.tasks.splits import Splits


def sine_method() -> MAML:
    torch.manual_seed(0)
    return MAML(MLP((1,)), 1, steps=4, rule=SGD(rate=0.01), likelihood="gaussian")


def array_protocol() -> Protocol:
    def pool(name: str, seed: int) -> Pool:
        x = np.random.default_rng(seed).normal(size=(48, 4)).astype(np.float32)
        return Pool.from_arrays(x, np.repeat(np.arange(6), 8), [f"{name}{i}" for i in range(6)], name=name)

    tasks = ArrayTasks(splits=Splits(pool("a", 0), pool("b", 1), pool("c", 2)), ways=3, shots=2, queries=4)
    return Protocol(tasks=tasks, episodes=6)


def test_each_point_over_steps_is_an_evaluation() -> None:
    protocol = Protocol(tasks=Sines(), episodes=6)
    seen: list[tuple[int, int]] = []
    curve = steps_curve(sine_method(), protocol, (3, 0), progress=lambda *at: seen.append(at))
    assert curve is not None
    assert curve.x == (0, 3)
    assert seen == [(1, 2), (2, 2)]
    for i, steps in enumerate(curve.x):
        point = evaluate(sine_method(), protocol, name="", steps=steps)
        assert (curve.mean[i], curve.low[i], curve.high[i]) == (point.mean, point.low, point.high)


def test_the_usual_steps_hold_the_methods_own_and_their_double() -> None:
    curve = steps_curve(sine_method(), Protocol(tasks=Sines(), episodes=2))
    assert curve is not None
    assert curve.x == (0, 1, 2, 3, 4, 5, 8, 10)


def test_a_method_without_steps_has_no_such_curve() -> None:
    assert steps_curve(ProtoNet(Flatten((4,))), array_protocol()) is None
    with pytest.raises(SettingsError, match="steps holds -1"):
        steps_curve(sine_method(), Protocol(tasks=Sines(), episodes=2), (-1,))


def test_each_point_over_shots_is_an_evaluation_with_the_floors_beside_it() -> None:
    protocol, method, floor = array_protocol(), ProtoNet(MLP((4,))), ProtoNet(Flatten((4,)))
    curve = shots_curve(method, protocol, floors={"raw": floor})
    assert curve is not None
    assert curve.x == (1, 2, 3)  # eight examples a class, four of them queries: five shots are not to be had
    for i, shots in enumerate(curve.x):
        changed = dataclasses.replace(protocol, shots=shots)
        assert curve.mean[i] == evaluate(method, changed, name="").mean
        assert curve.floors["raw"][i] == evaluate(floor, changed, name="").mean
    with pytest.raises(TaskError, match="need 9"):
        shots_curve(method, protocol, (5,))
