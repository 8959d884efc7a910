"""The whole step as one graph against the eager one; the choice between them; what happens where it cannot be had."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import random_episodes
from quickstudy import MAML, SGD, ProtoNet, over_tasks
from quickstudy.core.episode import Episode, to_device
from quickstudy.core.shapes import Tensor
from quickstudy.inner import Rule
from quickstudy.inner.lstm import MetaLSTM
from quickstudy.inner.parted import Parted
from quickstudy.methods.metric.relation import RelationNet
from quickstudy.nets import MLP, Conv4
from quickstudy.train import compiled, remembered
from quickstudy.train.compiled import Choice, WholeStep, compiled_step
from quickstudy.train.loop import fit
from quickstudy.train.settings import Training
from quickstudy.train.state import TrainState
from train.runs import SOURCE, sine_method, weights


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that traces the whole step, and leaves out the minute of compiling it."""
    plain = Choice.__init__
    monkeypatch.setattr(Choice, "__init__", lambda self, state: plain(self, state, backend="eager"))


def eager(method: torch.nn.Module, *batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    loss = over_tasks(method, *batch, how="loop").mean()
    learned = {name: weight for name, weight in method.named_parameters() if weight.requires_grad}
    return loss, dict(zip(learned, torch.autograd.grad(loss, list(learned.values())), strict=True))


def differ(ours: tuple[Tensor, dict[str, Tensor]], theirs: tuple[Tensor, dict[str, Tensor]]) -> float:
    assert ours[1].keys() == theirs[1].keys()
    gaps = [(ours[1][name] - slope).norm() / slope.norm().clamp(min=1e-12) for name, slope in theirs[1].items()]
    return max([*gaps, (ours[0] - theirs[0]).abs() / theirs[0].abs()]).item()


def sines(gradient: str, rule: Rule | None = None) -> MAML:
    torch.manual_seed(0)
    net = MLP((1,), hidden=(8,))
    return MAML(net, 1, steps=2, rule=rule or SGD(rate=0.01), gradient=gradient, likelihood="gaussian")


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("gradient", ["exact", "unrolled", "first-order"])
def test_a_traced_step_is_the_eager_one(gradient: str, dtype: torch.dtype, most: float) -> None:
    method = sines(gradient).to(dtype)
    step = WholeStep(method, backend="eager")
    for tasks in (4, 7):  # a new shape is traced anew
        episodes = to_device(SOURCE.batch(range(tasks)), "cpu", dtype)
        assert differ(step(episodes), eager(method, episodes)) < most


@pytest.mark.parametrize("rule", [MetaLSTM(hidden=3), Parted(body=SGD(rate=0.01), head=MetaLSTM(hidden=3))], ids=str)
@pytest.mark.parametrize("gradient", ["exact", "first-order"])
def test_rules_that_read_the_loss_are_traced(gradient: str, rule: Rule) -> None:
    method, episodes = sines(gradient, rule).double(), to_device(SOURCE.batch(range(3)), "cpu", torch.float64)
    assert differ(WholeStep(method, backend="eager")(episodes), eager(method, episodes)) < 1e-10


def test_a_traced_step_reads_the_weights_as_they_are_now() -> None:
    method = sines("exact")
    episodes = SOURCE.batch(range(3))
    step = WholeStep(method, backend="eager")
    step(episodes)
    with torch.no_grad():
        for weight in method.parameters():
            weight.mul_(1.5)
    assert differ(step(episodes), eager(method, episodes)) < 1e-5


def test_nets_of_images_are_traced_with_their_statistics_and_fixed_weights() -> None:
    torch.manual_seed(0)
    method = ProtoNet(Conv4((1, 16, 16), width=4))
    next(method.parameters()).requires_grad_(False)
    episodes = random_episodes(tasks=2)
    assert differ(WholeStep(method, backend="eager")(episodes), eager(method, episodes)) < 1e-5
    assert differ(WholeStep(method, how="loop", backend="eager")(episodes), eager(method, episodes)) < 1e-5


def test_bf16_is_traced_as_it_is_computed() -> None:
    method, episodes = sines("first-order"), SOURCE.batch(range(4))
    with torch.autocast("cpu", torch.bfloat16):
        narrow = eager(method, episodes)
    assert differ(WholeStep(method, bf16=True, backend="eager")(episodes), narrow) < 0.02
    assert differ(narrow, eager(method, episodes)) > 1e-4


def test_inductor_compiles_the_smallest_of_steps() -> None:
    torch.manual_seed(0)
    net = MLP((1,), hidden=(2,))
    method = MAML(net, 1, steps=1, rule=SGD(rate=0.01), gradient="exact", likelihood="gaussian")
    episodes = SOURCE.batch(range(2))
    step = compiled_step(method, episodes)
    before = step.seconds
    assert differ(step(episodes), eager(method, episodes)) < 1e-5
    assert before == step.seconds > 0  # compiled once


def test_slopes_have_the_precision_of_their_weights() -> None:
    torch.manual_seed(0)
    method = RelationNet(MLP((3,), hidden=(4,)), width=4, loss="cross-entropy")
    episodes = random_episodes(1, ways=2, item=(3,))
    step = WholeStep(method, how="loop", bf16=True)
    loss, slopes = step(episodes)
    assert {slope.dtype for slope in slopes.values()} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        assert differ((loss, slopes), eager(method, episodes)) < 0.3  # of bfloat16, whose differences cancel


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("more", [{}, {"chunk": 3}, {"how": "loop"}, {"clip": 0.1}])
def test_training_by_compiled_steps_is_training(more: dict[str, Any]) -> None:
    plain, other = sine_method(), sine_method()
    list(fit(plain, SOURCE, Training(steps=4, batch=5, **more)))
    *_, last = fit(other, SOURCE, Training(steps=4, batch=5, compile="always", **more))
    torch.testing.assert_close(weights(other), weights(plain))
    assert last.state.compiled is not None
    assert last.state.compiled["kept"]


def paced(monkeypatch: pytest.MonkeyPatch, compiled_seconds: float, eager_seconds: float) -> None:
    paces = iter([compiled_seconds, eager_seconds] * 9)

    def pace(run: Callable[[], Tensor], device: torch.device) -> float:
        run()
        return next(paces)

    monkeypatch.setattr(compiled, "seconds_of", pace)
    monkeypatch.setattr(TrainState, "seconds_left", lambda self, pace: 1e6)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("seconds", "kept"), [(0.1, True), (0.3, False)])
def test_auto_keeps_the_quicker(monkeypatch: pytest.MonkeyPatch, seconds: float, kept: bool) -> None:
    paced(monkeypatch, seconds, 0.2)
    training = Training(steps=12, batch=2, compile="auto")
    states = [(step.number, step.state.compiled) for step in fit(sine_method(), SOURCE, training)]
    assert [number for number, found in states if found is None] == list(range(1, compiled.TRIED + 1))
    found = states[-1][1]
    assert found is not None
    assert (found["kept"], found["eager"], found["compiled"]) == (kept, 0.2, seconds)
    assert found["step"] == compiled.TRIED + 1


@pytest.mark.usefixtures("traced")
def test_auto_does_not_compile_what_is_nearly_done() -> None:
    *_, last = fit(sine_method(), SOURCE, Training(steps=12, batch=2, compile="auto"))
    assert last.state.compiled is None


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("each", "left", "tried"),
    [(1e-5, 23.0, True), (1e-5, 21.0, False), (1e-3, 601.0, True), (1e-3, 599.0, False)],
)
def test_auto_compiles_where_that_is_expected_to_pay(
    monkeypatch: pytest.MonkeyPatch, each: float, left: float, tried: bool
) -> None:
    """300 small operations are compiled in 11 seconds, for half of the time left; of large ones less is hoped."""
    paced(monkeypatch, 0.1, 0.2)
    monkeypatch.setattr(TrainState, "seconds_left", lambda self, pace: left)
    monkeypatch.setattr(compiled, "pace_of_operations", lambda *a: (each, 300))
    *_, last = fit(sine_method(), SOURCE, Training(steps=12, batch=2, compile="auto"))
    assert (last.state.compiled is not None) == tried


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("left", "again"), [(41.0, True), (39.0, False)])
def test_auto_expects_what_was_measured_before(monkeypatch: pytest.MonkeyPatch, left: float, again: bool) -> None:
    paced(monkeypatch, 0.05, 0.2)
    training = Training(steps=12, batch=2, compile="auto")
    list(fit(sine_method(), SOURCE, training))
    plain = remembered.recall
    monkeypatch.setattr(remembered, "recall", lambda key: (found := plain(key)) and found | {"seconds": 30.0})
    monkeypatch.setattr(TrainState, "seconds_left", lambda self, pace: left)
    *_, last = fit(sine_method(), SOURCE, training)
    assert (last.state.compiled is not None) == again


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("kept", [True, False])
def test_a_resumed_run_does_not_choose_again(monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    paced(monkeypatch, 0.1 if kept else 0.3, 0.2)
    training = Training(steps=13, batch=2, compile="auto")
    whole = sine_method()
    for step in fit(whole, SOURCE, training):
        if step.number == 10:
            tensors, scalars = {k: v.clone() for k, v in step.state.tensors().items()}, step.state.scalars()
    paced(monkeypatch, 0.2, 0.2)
    state = TrainState(sine_method(1), training)
    state.restore(tensors, scalars)
    taken: list[bool] = []
    plain = Choice.take
    monkeypatch.setattr(Choice, "take", lambda *a: taken.append((found := plain(*a)) is not None) or found)
    list(fit(state.method, SOURCE, state=state))
    assert taken == [kept] * 3
    assert torch.equal(weights(state.method), weights(whole))


@pytest.mark.usefixtures("traced")
def test_what_was_slower_before_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    paced(monkeypatch, 0.3, 0.2)
    training = Training(steps=12, batch=2, compile="auto")
    assert [s.state.compiled for s in fit(sine_method(), SOURCE, training)][-1] is not None
    assert [s.state.compiled for s in fit(sine_method(), SOURCE, training)][-1] is None


def test_where_nothing_compiles_training_goes_on_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no C++ compiler found\nmore")

    monkeypatch.setattr("torch._inductor.compile", failing)
    plain, other = sine_method(), sine_method()
    list(fit(plain, SOURCE, Training(steps=3, batch=2)))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        list(fit(other, SOURCE, Training(steps=3, batch=2, compile="always")))
    assert [str(each.message)[:88] for each in said] == [
        "the step could not be compiled, so training goes on without: no C++ compiler found (torch"[:88]
    ]
    assert torch.equal(weights(plain), weights(other))


def test_memory_of_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes: Episode = SOURCE.batch(range(2))
    one, two = sine_method(), sine_method(1)
    key = remembered.key_of(one, episodes, what="x")
    assert key == remembered.key_of(two, episodes, what="x")  # weights' values do not count
    others = {
        remembered.key_of(one, episodes, what="y"),
        remembered.key_of(one, SOURCE.batch(range(3)), what="x"),
        remembered.key_of(sines("exact"), episodes, what="x"),
    }
    assert len(others - {key}) == 3
    assert remembered.recall(key) is None
    remembered.remember(key, {"a": 1})
    remembered.remember("other", {"a": 2})
    assert remembered.recall(key) == {"a": 1}
    (tmp_path / remembered.FILE).write_text("{ broken")
    assert remembered.recall(key) is None
    monkeypatch.setattr(remembered, "MOST", 2)
    for number in range(4):
        remembered.remember(str(number), {"n": number})
    assert [remembered.recall(str(number)) for number in range(4)] == [None, None, {"n": 2}, {"n": 3}]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "file"))
    remembered.remember("nowhere", {})  # a cache that cannot be written stops nothing
