"""Floors are made of registered methods and share one conventionally trained net, kept in a run of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from quickstudy import registry
from quickstudy.core.settings import load
from quickstudy.nets import MLP, Flatten
from quickstudy.train.floors import conventional_run, make_floors
from quickstudy.train.settings import Training
from train.runs import sine_run, weights


def test_every_floor_is_made_and_trained_once(tmp_path: Path) -> None:
    steps = []
    training = Training(steps=3, batch=2)
    made = dict(make_floors(sine_run(), tmp_path / "floors", training, lambda step: steps.append(step.number)))
    assert list(made) == ["no adaptation", "linear probe", "fine-tuning"]  # centroids are for classes
    assert steps == [1, 2, 3]
    trained = [weights(made[name]) for name in made if registry.FLOORS[name]["trained"]]
    assert all(torch.equal(trained[0], each) for each in trained)
    again = dict(make_floors(sine_run(), tmp_path / "floors", training, lambda step: steps.append(step.number)))
    assert steps == [1, 2, 3]
    assert all(torch.equal(weights(made[name]), weights(again[name])) for name in made)


def test_another_training_is_another_run(tmp_path: Path) -> None:
    run = sine_run(steps=2)
    first = conventional_run(run, tmp_path / "floors")
    longer = dataclasses.replace(run, training=Training(steps=5, batch=4))
    second = conventional_run(longer, tmp_path / "floors")
    assert not torch.equal(weights(first), weights(second))
    assert torch.equal(weights(first), weights(conventional_run(run, tmp_path / "floors")))


def test_floors_of_a_method_that_reads_vectors_itself_have_a_net(tmp_path: Path) -> None:
    """On its net, which is none, they would be straight lines."""
    run = dataclasses.replace(sine_run(), method=load("method", "cnp"), net=load("net", "flatten"))
    for _, floor in make_floors(run, tmp_path / "floors", Training(steps=1, batch=2)):
        assert isinstance(floor.net, MLP)
    plain = dataclasses.replace(sine_run(), net=load("net", "flatten"))
    for _, floor in make_floors(plain, tmp_path / "others", Training(steps=1, batch=2)):
        assert isinstance(floor.net, Flatten)
