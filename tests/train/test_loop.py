"""The outer loop against torch's own optimizers, its schedules, its memory of where it was, and its refusals."""

from __future__ import annotations

import itertools
import math
import time

import pytest
import torch

from quickstudy import MAML, SGD, Gaussian, ProtoNet, QueryScored, over_tasks
from quickstudy.core import lift
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.shapes import Tensor
from quickstudy.errors import CheckpointError, SettingsError, TrainingError
from quickstudy.methods.gradient.finetune import FineTune
from quickstudy.nets import MLP, Conv4
from quickstudy.tasks.fewshot import FewShotSource
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.sines import Sines
from quickstudy.train import loop
from quickstudy.train.loop import fit
from quickstudy.train.settings import Training
from quickstudy.train.state import TrainState, load_weights, weights_of
from train.runs import SOURCE, sine_method, weights


def test_a_step_is_what_the_optimizer_does_to_the_mean_meta_loss() -> None:
    ours, theirs = sine_method(), sine_method()
    optimizer = torch.optim.Adam(theirs.parameters(), 3e-3)
    for step, episodes in zip(
        fit(ours, SOURCE, Training(steps=3, batch=5, rate=3e-3)), SOURCE.batches(5), strict=False
    ):
        loss = over_tasks(theirs.meta_loss, episodes).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([weight.grad.flatten() for weight in theirs.parameters()]).norm()
        optimizer.step()
        assert step.loss == pytest.approx(loss.item(), rel=1e-5)
        assert step.grad_norm == pytest.approx(norm.item(), rel=1e-5)
    torch.testing.assert_close(weights(ours), weights(theirs))


@pytest.mark.parametrize("training", [{"how": "loop"}, {"how": "map", "chunk": 2}, {"how": "map", "chunk": 1}])
def test_neither_chunks_nor_the_loop_change_a_step(training: dict[str, object]) -> None:
    plain, other = sine_method(), sine_method()
    list(fit(plain, SOURCE, Training(steps=3, batch=5, how="map")))
    list(fit(other, SOURCE, Training(steps=3, batch=5, **training)))
    torch.testing.assert_close(weights(plain), weights(other))


def test_clipping_shortens_the_meta_gradient() -> None:
    method = sine_method()
    before = weights(method)
    step = next(fit(method, SOURCE, Training(steps=1, batch=4, optimizer="sgd", momentum=0.0, rate=1.0, clip=0.25)))
    assert step.grad_norm > 0.25
    assert (weights(method) - before).norm().item() == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize(
    ("schedule", "share"),
    [
        ("constant", lambda done: 1.0),
        ("cosine", lambda done: 0.5 * (1 + math.cos(math.pi * done))),
        ("step", lambda done: 0.5 ** math.floor(10 * done)),
    ],
)
def test_schedules(schedule: str, share: object) -> None:
    rates = [s.rate for s in fit(sine_method(), SOURCE, Training(steps=20, batch=1, rate=0.1, schedule=schedule))]
    assert rates == pytest.approx([0.1 * share(step / 20) for step in range(20)])


def test_warm_up_rises_from_zero_to_the_full_rate() -> None:
    rates = [s.rate for s in fit(sine_method(), SOURCE, Training(steps=6, batch=1, rate=0.4, warmup=3))]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("stop", [1, 7])
def test_a_restored_state_goes_on_bit_for_bit(optimizer: str, stop: int) -> None:
    training = Training(steps=12, batch=3, optimizer=optimizer, schedule="cosine", warmup=3, weight_decay=0.01)
    whole = sine_method()
    losses = [step.loss for step in fit(whole, SOURCE, training)]
    for step in fit(sine_method(), SOURCE, training):
        if step.number == stop:
            tensors, scalars = {k: v.clone() for k, v in step.state.tensors().items()}, step.state.scalars()
            break
    state = TrainState(sine_method(seed=1), training)
    state.restore(tensors, scalars)
    rest = [step.loss for step in fit(state.method, SOURCE, state=state)]
    assert rest == losses[stop:]
    assert torch.equal(weights(state.method), weights(whole))


def test_minutes_end_a_run_and_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=0.05)  # a step looks twice around its gradient, and twice around what it then owes
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    training = Training(steps=10**6, batch=1, rate=0.1, minutes=0.01, schedule="cosine")
    steps = list(fit(sine_method(), SOURCE, training))
    seconds = [0.05 + 0.1 * n for n in range(7)]
    assert [step.seconds for step in steps] == pytest.approx(seconds)
    done = [0.0, *(spent / 0.6 for spent in seconds[:-1])]
    assert [step.rate for step in steps] == pytest.approx([0.05 * (1 + math.cos(math.pi * share)) for share in done])


def test_bf16_trains_close_to_float32() -> None:
    plain, narrow = sine_method(), sine_method()
    first = [step.loss for step in fit(plain, SOURCE, Training(steps=5, batch=8))]
    other = [step.loss for step in fit(narrow, SOURCE, Training(steps=5, batch=8, precision="bf16"))]
    assert other == pytest.approx(first, rel=0.05)
    assert other != first
    assert weights(narrow).dtype == torch.float32


def test_a_loss_that_is_not_finite_stops_before_it_does_harm() -> None:
    method = sine_method()
    training = Training(steps=9, batch=4)
    run = fit(method, SOURCE, training)
    next(run)
    with torch.no_grad():
        method.head.bias.fill_(math.inf)
    before = weights(method)
    with pytest.raises(TrainingError, match=f"step 2: .*episodes 4 to 7 .digest {SOURCE.digest(range(4, 8))}"):
        next(run)
    assert torch.equal(weights(method), before)


class Nothing(QueryScored):
    """A method without weights."""

    def adapt(self, support: Examples, *noise: torch.Tensor) -> torch.Tensor:
        return support.y.mean(0)

    def predict(self, learner: torch.Tensor, x: torch.Tensor) -> Gaussian:
        mean = learner.expand(len(x), -1)
        return Gaussian(mean, torch.ones_like(mean))


def test_a_method_without_weights_cannot_be_trained() -> None:
    with pytest.raises(TrainingError, match="Nothing has no weights to train"):
        next(fit(Nothing(), SOURCE))


class Noisy(QueryScored):
    """A method whose adaptation is pure noise: its one weight scales it."""

    noise_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.drawn: list[torch.Tensor] = []

    def adapt(self, support: Examples, *noise: torch.Tensor) -> torch.Tensor:
        self.drawn.append(noise[0].clone())
        return self.scale * noise[0].sum()

    def predict(self, learner: torch.Tensor, x: torch.Tensor) -> Gaussian:
        mean = learner + torch.zeros_like(x)
        return Gaussian(mean, torch.ones_like(mean))


def test_noise_has_a_stream_for_each_task() -> None:
    one, two = Noisy(), Noisy()
    list(fit(one, SOURCE, Training(steps=2, batch=3, how="loop")))
    list(fit(two, SOURCE, Training(steps=3, batch=2, how="loop")))
    assert torch.equal(torch.stack(one.drawn), torch.stack(two.drawn))
    assert len({tuple(each.tolist()) for each in one.drawn}) == 6


def test_memory_is_flat_in_the_tasks_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[tuple[str, int]] = []
    original = loop.over_tasks

    def noted(method: QueryScored, episodes: Episode, how: str) -> Tensor:
        together.append((how, len(episodes.query.x)))
        return original(method, episodes, how=how)

    monkeypatch.setattr(loop, "over_tasks", noted)
    plain, other = sine_method(), sine_method()
    list(fit(plain, SOURCE, Training(steps=2, batch=5)))
    monkeypatch.setattr(lift, "NUMBERS", {"cpu": 40})  # a task of sines has 20 points
    list(fit(other, SOURCE, Training(steps=2, batch=5)))
    monkeypatch.setattr(lift, "NUMBERS", {"cpu": 1})
    list(fit(sine_method(), SOURCE, Training(steps=1, batch=3)))
    assert together == [("map", 5)] * 2 + [("map", 2), ("map", 2), ("map", 1)] * 2 + [("loop", 1)] * 3
    torch.testing.assert_close(weights(plain), weights(other))


def test_conventional_training_takes_one_flat_batch_a_step() -> None:
    flat = Sines().pool("train", batch=32)
    ours = FineTune(MLP((1,), hidden=(8,)), 1, 1, likelihood="gaussian")
    theirs = FineTune(MLP((1,), hidden=(8,)), 1, 1, likelihood="gaussian")
    load_weights(theirs, weights_of(ours))
    optimizer = torch.optim.Adam(theirs.parameters(), 1e-2)
    for step in fit(ours, flat, Training(steps=3, batch=4, rate=1e-2)):
        assert step.tasks == 1
        optimizer.zero_grad()
        over_tasks(theirs.meta_loss, flat.batch([step.number - 1])).mean().backward()
        optimizer.step()
    torch.testing.assert_close(weights(ours), weights(theirs))


@pytest.mark.parametrize("how", ["map", "loop"])
@pytest.mark.parametrize("adapts", ["head", "all"])
def test_exact_meta_gradients_in_bf16_are_those_of_unrolling(adapts: str, how: str) -> None:
    def trained(gradient: str) -> Tensor:
        torch.manual_seed(0)
        net = MLP((1,), hidden=(16, 16))
        method = MAML(net, 1, steps=2, rule=SGD(rate=0.01), gradient=gradient, adapts=adapts, likelihood="gaussian")
        before = weights(method)
        training = Training(steps=1, batch=4, optimizer="sgd", momentum=0.0, rate=1.0, precision="bf16", how=how)
        list(fit(method, SOURCE, training))
        return weights(method) - before

    exact, unrolled = trained("exact"), trained("unrolled")
    assert torch.cosine_similarity(exact, unrolled, dim=0) > 0.999


def test_warm_up_is_counted_in_steps_even_where_minutes_end_the_run() -> None:
    training = Training(steps=10**6, batch=1, rate=0.4, warmup=3, minutes=100)
    rates = [step.rate for step, _ in zip(fit(sine_method(), SOURCE, training), range(4), strict=False)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_run_by_minutes_goes_on_from_the_time_that_it_had_spent() -> None:
    training = Training(steps=10**6, batch=1, minutes=1)
    state = TrainState(sine_method(), training)
    tensors = {name: value.clone() for name, value in state.tensors().items()}
    again = TrainState(sine_method(), training)
    again.restore(tensors, state.scalars() | {"number": 40, "seconds": 59.9})
    assert again.done(again.number) == pytest.approx(59.9 / 60)
    steps = list(fit(again.method, SOURCE, state=again))
    assert steps[0].number == 41
    assert 60 <= steps[-1].seconds < 62


def test_a_state_goes_on_with_its_own_method_and_training() -> None:
    state = TrainState(sine_method(), Training(steps=3, batch=2))
    with pytest.raises(SettingsError, match="made of another method or training"):
        next(fit(sine_method(), SOURCE, state=state))
    with pytest.raises(SettingsError, match="made of another method or training"):
        next(fit(state.method, SOURCE, Training(steps=4, batch=2), state))
    assert len(list(fit(state.method, SOURCE, Training(steps=3, batch=2), state))) == 3


def test_a_state_of_another_optimizer_is_refused() -> None:
    state = TrainState(sine_method(), Training(optimizer="sgd"))
    other = TrainState(sine_method(), Training())
    with pytest.raises(CheckpointError, match="is of training with sgd, not adam"):
        other.restore(state.tensors(), state.scalars())


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(SettingsError, match=rf"device='{device}' cannot be used here: .*Write auto, cpu or cuda"):
        TrainState(sine_method(), Training(device=device))


def test_channels_last_changes_the_layout_alone() -> None:
    images = torch.rand(60, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    source = FewShotSource(Pool.from_arrays(images, torch.arange(60) // 6), ways=5, shots=1, queries=2)

    def trained(channels_last: bool) -> tuple[list[float], ProtoNet]:
        torch.manual_seed(0)
        method = ProtoNet(Conv4((1, 16, 16), width=8))
        training = Training(steps=3, batch=1, channels_last=channels_last)
        return [step.loss for step in fit(method, source, training)], method

    plain, other = trained(False), trained(True)
    assert other[0] == pytest.approx(plain[0], rel=1e-4)
    kernels = [weight for weight in other[1].parameters() if weight.ndim == 4][1:]  # one channel has no order
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)
    assert not any(weight.is_contiguous() for weight in kernels)
