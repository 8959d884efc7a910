"""Tasks in which two classes share their only example are what they say, and what is measured on them is right."""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import numpy as np
import pytest
import torch

from quickstudy import ProtoNet
from quickstudy.evaluate import answer
from quickstudy.evaluate.calibration import calibration
from quickstudy.nets import Flatten
from quickstudy.tasks.glyphs import Glyphs

TASKS = range(40)


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("calibration")


@pytest.mark.parametrize("shots", [1, 2])
def test_two_classes_have_the_examples_of_one(script: ModuleType, shots: int) -> None:
    usual = Glyphs(ways=5, shots=shots, queries=2).source("test")
    shared = script.SharedSupport(usual)
    before, after = usual.batch(TASKS), shared.batch(TASKS)
    pairs = shared.pairs(TASKS)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(a, b) for b in range(5) for a in range(b)}
    for i, (owner, other) in enumerate(pairs.tolist()):
        for way in range(5):
            had, has = (part.support.x[i][part.support.y[i][:, way]] for part in (before, after))
            expected = before.support.x[i][before.support.y[i][:, owner]] if way == other else had
            assert torch.equal(has, expected)
        assert not torch.equal(before.support.x[i], after.support.x[i])
    assert torch.equal(before.support.y, after.support.y)
    assert all(torch.equal(a, b) for a, b in zip(before.query, after.query, strict=True))
    assert shared.fingerprint != usual.fingerprint
    (one,) = shared.batch([7]).support.x
    assert torch.equal(one, after.support.x[7])


def test_a_share_of_tasks_is_left_as_it_is(script: ModuleType) -> None:
    usual = Glyphs(ways=5, shots=1, queries=2).source("train")
    all_shared, half = script.SharedSupport(usual), script.SharedSupport(usual, 0.5)
    before, after, mixed = (source.batch(TASKS).support.x for source in (usual, all_shared, half))
    changed = [not torch.equal(a, b) for a, b in zip(before, mixed, strict=True)]
    assert 10 < sum(changed) < 30
    for i, is_changed in enumerate(changed):
        assert torch.equal(mixed[i], after[i] if is_changed else before[i])
    assert len({usual.fingerprint, all_shared.fingerprint, half.fingerprint}) == 3


def test_a_method_that_compares_says_one_half(script: ModuleType) -> None:
    """Equal examples, equal distances: the likelier of the two classes cannot be known, and it is not claimed."""
    shared = script.SharedSupport(Glyphs(ways=5, shots=1, queries=3).source("test"))
    method = ProtoNet(Flatten((1, 28, 28)), temperature=0.1)
    said = script.answers(method, shared, len(TASKS))
    pairs = torch.from_numpy(shared.pairs(TASKS))
    of_two = torch.stack([said.log_p[i][:, pair] for i, pair in enumerate(pairs)])
    # distances of some hundreds in float32, which some processors sum otherwise at another place of a matrix
    torch.testing.assert_close(of_two[..., 0], of_two[..., 1], rtol=0, atol=5e-3)
    parts = shared.parts(TASKS, said.y)
    owners = torch.stack([said.y[i][:, owner] for i, owner in enumerate(pairs[:, 0])])
    others = torch.stack([said.y[i][:, other] for i, other in enumerate(pairs[:, 1])])
    assert torch.equal(parts["owner"], owners)
    assert torch.equal(parts["both"], owners | others)
    figures = script._figures(said, parts["owner"])
    assert figures["nll"]["mean"] > math.log(2)
    assert figures["accuracy"]["mean"] < 0.9


def test_the_calibration_error_is_that_of_evaluations(script: ModuleType) -> None:
    source = Glyphs(ways=5, shots=1, queries=3).source("test")
    method = ProtoNet(Flatten((1, 28, 28)), temperature=3.0)
    said = script.answers(method, source, len(TASKS))
    found = script._figures(said, torch.ones(said.y.shape[:2], dtype=torch.bool))
    expected = answer(method, source, episodes=len(TASKS))
    told = calibration(expected)
    assert told is not None
    assert found["ece"]["mean"] == pytest.approx(told.ece, abs=1e-6)
    assert found["nll"]["mean"] == pytest.approx(told.nll, abs=1e-5)
    assert found["accuracy"]["mean"] == pytest.approx(expected.score.mean())


def test_an_honest_coin_is_calibrated_and_a_sure_one_is_not(script: ModuleType) -> None:
    right = np.tile([1.0, 0.0], (500, 2))
    honest, sure = (script.expected_error(np.full((500, 4), p), right) for p in (0.5, 0.99))
    assert honest["mean"] == pytest.approx(0.0)
    assert sure["mean"] == pytest.approx(0.49)
    assert sure["low"] == pytest.approx(0.49)
    drawn = np.random.default_rng(0).random((1000, 4)) < 0.5
    found = script.expected_error(np.full((1000, 4), 0.6), drawn.astype(float))
    assert found["low"] < 0.1 < found["high"]
    half = 1.96 * 0.5 / math.sqrt(4000)
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.1)


def test_a_temperature_is_found(script: ModuleType) -> None:
    """Where labels are drawn from softmax(logits / 3), 3 is the temperature that costs least."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(1, 4000, 5, generator=generator)
    drawn = torch.multinomial((logits[0] / 3).softmax(-1), 1, generator=generator)[:, 0]
    said = script.Said(logits.log_softmax(-1), torch.nn.functional.one_hot(drawn, 5).bool()[None])
    assert script.cheapest(lambda t: float(script._nll(said.at(t)).mean())) == pytest.approx(3.0, rel=0.1)
