"""Layers that normalise by the population see one task in every ten steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from quickstudy.core.apply import apply
from quickstudy.evaluate import answer
from quickstudy.nets.norm import gathering
from quickstudy.train.loop import GATHER_EVERY, fit
from quickstudy.train.run import Run, RunSettings, begun, build_method, training_source
from quickstudy.train.state import TrainState
from train.runs import Dots

STEPS = 2 * GATHER_EVERY + 3
MOMENTS = ("layers.2.mean", "layers.2.square", "layers.2.gathered")


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
    "method",
    ["protonet", "r2d2", "maml", "imaml", "imaml-hf", "reptile", "protomaml", "leo", "tadam", "rfs", "finetune"],
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


def population(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items() if name in MOMENTS}


def test_a_student_gathers_what_it_measures_itself_and_its_teacher_goes_by_its_own_population(tmp_path: Path):
    run = Run.create(tmp_path / "teacher", settings_of("rfs"))
    state = TrainState(build_method(run.settings), run.settings.training)
    list(fit(state.method, training_source(run.settings), state=state))
    run.save(state)
    taught = population(state.method.net)
    student = begun(settings_of("rfs-distill", start=str(run.folder))).train()
    batch = training_source(settings_of("rfs-distill")).batch([0])
    batch = type(batch)(*(type(part)(*(leaf[0] for leaf in part)) for part in batch))
    with gathering(), torch.no_grad():
        student.meta_loss(batch)
    (moments,) = apply(student.net, None, batch.query.x, mask=batch.query.mask)[1]
    found = population(student.net)
    assert found["layers.2.gathered"] == 1
    torch.testing.assert_close(found["layers.2.mean"], moments.mean.detach())
    torch.testing.assert_close(found["layers.2.square"], (moments.variance + moments.mean.square()).detach())
    assert taught["layers.2.gathered"] >= 3
    assert same(taught, population(student.teacher.net))
    state.method.eval()
    features, _ = apply(state.method.net, None, batch.query.x)
    torch.testing.assert_close(student.teacher.classify(batch.query.x, batch.query.mask), state.method.head(features))


def test_a_student_is_trained_and_gone_on_with_beside_its_teacher(tmp_path: Path):
    first = Run.create(tmp_path / "teacher", settings_of("rfs"))
    first.save(TrainState(build_method(first.settings), first.settings.training))
    run = settings_of("rfs-distill", start=str(first.folder))
    whole = TrainState(begun(run), run.training)
    before = {name: value.clone() for name, value in whole.method.teacher.state_dict().items()}
    for step in fit(whole.method, training_source(run), state=whole):
        if step.number == 14:
            saved = {name: value.clone() for name, value in whole.tensors().items()}, whole.scalars()
    assert population(whole.method.net)["layers.2.gathered"] == 3
    assert same(before, dict(whole.method.teacher.state_dict()))
    again = TrainState(build_method(run), run.training)
    again.restore(*saved)
    list(fit(again.method, training_source(run), state=again))
    assert same(dict(whole.method.state_dict()), dict(again.method.state_dict()))
