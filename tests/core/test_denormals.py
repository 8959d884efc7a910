"""Training and evaluation take numbers below the normal range as 0, and leave everyone else's arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from quickstudy import MAML
from quickstudy.core.denormals import without_denormals
from quickstudy.core.episode import Episode, Examples
from quickstudy.evaluate import answer
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines
from quickstudy.train.loop import fit
from quickstudy.train.settings import Training


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(False)


def half() -> float:
    """Of 2e-39, half a step below the normal range."""
    return (torch.tensor([2e-39]) * 0.5).double().item()


class Watched(MAML):
    """Keeps what arithmetic it was run in."""

    found: list[float]

    def meta_loss(self, episode: Episode, *noise: torch.Tensor) -> torch.Tensor:
        self.found.append(half())
        return super().meta_loss(episode, *noise)

    def adapt(self, support: Examples, *noise: torch.Tensor):
        self.found.append(half())
        return super().adapt(support, *noise)


def watched() -> Watched:
    method = Watched(MLP((1,)), 1, steps=1, likelihood="gaussian")
    method.found = []
    return method


def test_within_and_after():
    assert half() == pytest.approx(1e-39, rel=1e-3)
    with without_denormals():
        assert half() == 0
        with without_denormals():
            pass
        assert half() == 0
    assert half() == pytest.approx(1e-39, rel=1e-3)


def test_who_took_them_as_0_before_still_does_in_double_precision_too():
    torch.set_flush_denormal(True)
    torch.set_default_dtype(torch.float64)
    try:
        with without_denormals():
            pass
    finally:
        torch.set_default_dtype(torch.float32)
    assert half() == 0


def test_training_and_evaluation():
    method = watched()
    for _ in fit(method, Sines().source("train"), Training(steps=1, how="loop")):
        assert half() > 0
    answer(method, Sines().source("test"), episodes=2, how="loop")
    assert half() > 0
    assert set(method.found) == {0.0}
