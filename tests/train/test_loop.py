"""The outer loop against torch's own optimizers, its schedules, its memory of where it was, and its refusals."""

from __future__ import annotations

import math

import pytest
import torch

from quickstudy import Gaussian, QueryScored, over_tasks
from quickstudy.core.episode import Examples
from quickstudy.errors import TrainingError
from quickstudy.train.loop import TrainState, fit
from quickstudy.train.settings import Training
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


def test_minutes_end_a_run_and_its_schedule() -> None:
    steps = list(fit(sine_method(), SOURCE, Training(steps=10**6, batch=1, minutes=0.01, schedule="cosine")))
    assert 0.6 <= steps[-1].seconds < 3
    assert steps[-1].rate < 0.05 * steps[0].rate


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
