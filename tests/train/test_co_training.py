"""Training that takes flat batches beside its episodes: which step takes which, and that all else stays as it is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from quickstudy import ProtoNet, over_tasks
from quickstudy.cli import assess, main
from quickstudy.core.learner import CoTrained
from quickstudy.errors import SettingsError, TrainingError
from quickstudy.methods.metric.tadam import TADAM
from quickstudy.nets import MLP
from quickstudy.train import loop
from quickstudy.train.ahead import Ahead
from quickstudy.train.compiled import Choice
from quickstudy.train.loop import Step, fit
from quickstudy.train.parts import Parts
from quickstudy.train.profile import profile, tried
from quickstudy.train.run import Run, RunSettings, build_method, pool_source, training_source
from quickstudy.train.state import TrainState
from train.runs import weights


def co_trained(method: Any = "tadam", net: Any = None, tasks: Any = None, **training: Any) -> RunSettings:
    return RunSettings.read(
        {
            "method": method,
            "tasks": tasks or {"name": "train.runs:Dots", "ways": 4, "shots": 2, "queries": 3},
            "net": net or {"name": "mlp", "hidden": [6]},
            "training": {"steps": 24, "batch": 3, "schedule": "cosine"} | training,
        }
    )


def steps_of(run: RunSettings, state: TrainState) -> Iterator[Step]:
    return fit(state.method, training_source(run), state=state, pool=pool_source(run, state.method))


def begun(run: RunSettings) -> TrainState:
    return TrainState(build_method(run), run.training)


def test_a_step_is_conventional_or_episodic_as_torch_takes_it() -> None:
    """Each is Adam's step on its own loss alone; what that loss does not depend on stays where it is."""
    run = co_trained(schedule="constant")
    ours, theirs = begun(run), build_method(run)
    optimizer = torch.optim.Adam(theirs.parameters(), 1e-3)
    source, pool = training_source(run), pool_source(run, theirs)
    assert pool is not None
    kinds = []
    for step in steps_of(run, ours):
        optimizer.zero_grad()
        if step.flat:
            batch = pool.batch([step.number - 1]).query
            loss = F.cross_entropy(theirs.head(theirs.net(batch.x[0])), batch.y[0].int().argmax(-1))
        else:
            loss = over_tasks(theirs.meta_loss, source.batch(range(3 * step.number - 3, 3 * step.number))).mean()
        loss.backward()
        optimizer.step()
        assert step.loss == pytest.approx(loss.item(), rel=1e-4)
        assert step.tasks == (1 if step.flat else 3)
        kinds.append(step.flat)
    assert 5 < sum(kinds) < 19
    torch.testing.assert_close(weights(ours.method), weights(theirs))


def test_the_share_of_conventional_steps_decays() -> None:
    run = co_trained(steps=600, batch=1)
    kinds = torch.tensor([step.flat for step in steps_of(run, begun(run))]).double()
    assert kinds[:30].all()
    expected = [sum(0.9**k for k in each) / 10 for each in (range(10), range(10, 20))]
    assert kinds.view(2, 300).mean(1).tolist() == pytest.approx(expected, abs=0.06)
    other = co_trained(steps=600, batch=1, seed=1)
    assert [step.flat for step in steps_of(other, begun(other))] != kinds.bool().tolist()


def test_resumed_after_any_step_it_ends_bit_for_bit_the_same() -> None:
    run = co_trained()
    whole, saved, losses = begun(run), [], []
    for step in steps_of(run, whole):
        saved.append(({name: value.clone() for name, value in whole.tensors().items()}, whole.scalars(), step.flat))
        losses.append(step.loss)
    assert {flat for *_, flat in saved} == {True, False}
    for tensors, scalars, _ in saved[:-1]:
        again = TrainState(build_method(co_trained(seed=9)), run.training)
        again.restore(tensors, scalars)
        assert [step.loss for step in steps_of(run, again)] == losses[scalars["number"] :]
        ended = again.tensors()
        assert all(torch.equal(value, ended[name]) for name, value in whole.tensors().items())


@pytest.mark.parametrize("more", [{"how": "loop"}, {"how": "map", "chunk": 2}, {"compile": "always"}])
def test_how_tasks_are_taken_changes_no_step(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Choice.__init__
    monkeypatch.setattr(Choice, "__init__", lambda self, state: plain(self, state, backend="eager"))
    one, other = co_trained(), co_trained(**more)
    states = begun(one), begun(other)
    *_, first = steps_of(one, states[0])
    *_, last = steps_of(other, states[1])
    torch.testing.assert_close(weights(states[1].method), weights(states[0].method), rtol=1e-4, atol=1e-5)
    assert first.number == last.number
    assert bool(last.state.compiled) == ("compile" in more)


def test_what_is_sampled_ahead_is_what_the_next_step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    run = co_trained()
    plain, ahead = begun(run), begun(run)
    list(steps_of(run, plain))
    monkeypatch.setattr(loop, "Ahead", lambda device: Ahead(device, threaded=True))
    source, pool = training_source(run), pool_source(run, ahead.method)
    assert pool is not None
    asked = []
    for each in (source, pool):
        monkeypatch.setattr(each, "batch", lambda at, draw=each.batch: asked.append(at) or draw(at))
    list(fit(ahead.method, source, state=ahead, pool=pool))
    assert torch.equal(weights(ahead.method), weights(plain.method))
    assert len(asked) <= 25  # one a step, none in vain but what would follow the last


def test_who_trains_on_flat_batches_too() -> None:
    run = co_trained({"name": "tadam", "flat_batch": 20})
    method = build_method(run)
    assert isinstance(method, CoTrained)
    pool = pool_source(run, method)
    assert pool is not None
    assert pool.batch([0]).query.y.shape == (1, 20, 8)
    assert method.head.out_features == 8
    for alone in (
        co_trained({"name": "tadam", "flat_batch": 0}),
        co_trained("protonet"),
        co_trained(net="flatten"),
        co_trained(tasks={"name": "prior", "ways": 2, "shots": 4}),  # each table has classes of its own
    ):
        assert pool_source(alone, build_method(alone)) is None
    assert build_method(co_trained(tasks={"name": "prior", "ways": 2, "shots": 4})).head is None


@pytest.mark.parametrize("method", [ProtoNet(MLP((2,))), TADAM(MLP((2,)))])
def test_a_pool_for_who_takes_none_is_refused(method: Any) -> None:
    run = co_trained()
    with pytest.raises(SettingsError, match=rf"{type(method).__name__} as it was built takes no flat batches"):
        next(fit(method, training_source(run), pool=training_source(run)))


def test_a_flat_batch_that_breaks_is_named() -> None:
    run = co_trained()
    state = begun(run)
    with torch.no_grad():
        state.method.head.bias.fill_(math.inf)
    pool = pool_source(run, state.method)
    assert pool is not None
    with pytest.raises(TrainingError, match=rf"step 1: .*on flat batch 0 .digest {pool.digest([0])}"):
        next(steps_of(run, state))


def test_it_is_profiled_by_its_episodes() -> None:
    run = co_trained()
    assert "inner loop" in [part.name for part in profile(run, steps=1).parts]
    assert tried(run, {"how": "loop"}, steps=1).seconds > 0


def test_what_it_is_built_of_is_known(tmp_path: Path) -> None:
    for given in (8, None):
        method = TADAM(MLP((2,), hidden=(6,)), given)
        parts = Parts.of(method, (2,), 4)
        assert parts is not None
        assert parts.build().state_dict().keys() == method.state_dict().keys()


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = "train tadam --tasks train.runs:Dots --tasks.ways 3 --tasks.queries 3 --net mlp --net.hidden 4 --batch 2"
    assert main([*line.split(), "--steps", "20", "--validate-every", "0", "--quiet", "--out", "run"]) == 0
    logged = [json.loads(line) for line in Path("run/train.jsonl").read_text().splitlines()]
    flat = [record.get("flat", False) for record in logged]
    assert flat[0]
    assert 0 < sum(flat) < 20
    assert len(logged) == 20
    shown = [each.step for each in assess._learning(Run.open("run"))]
    assert shown == [record["step"] for record in logged if not record.get("flat")]
    asked = "evaluate run --episodes 3 --no-floors --no-curves --quiet"
    assert main(asked.split()) == 0
    method, _ = Run.open("run").method()
    assert method.head.out_features == 8
