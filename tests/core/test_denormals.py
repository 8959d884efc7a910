"""Training and evaluation take numbers below the normal range as 0."""

from collections.abc import Callable
from threading import Thread

import pytest
import torch

from quickstudy import MAML
from quickstudy.core.denormals import flush_denormals
from quickstudy.evaluate import answer
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines
from quickstudy.train.loop import fit
from quickstudy.train.settings import Training


def left_after(act: Callable[[], object]) -> float:
    """What half of 2e-39 is after that, in a thread of its own: the processor's mode is one thread's."""
    found = []

    def run() -> None:
        torch.set_flush_denormal(False)
        act()
        found.append((torch.tensor([2e-39]) * 0.5).double().item())

    thread = Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def train() -> None:
    for _ in fit(method(), Sines().source("train"), Training(steps=1)):
        pass


def method() -> MAML:
    return MAML(MLP((1,)), 1, steps=1, likelihood="gaussian")


@pytest.mark.parametrize("act", [flush_denormals, train, lambda: answer(method(), Sines().source("test"), episodes=2)])
def test_what_is_left_of_numbers_below_the_normal_range(act: Callable[[], object]):
    assert left_after(lambda: None) == pytest.approx(1e-39, rel=1e-3)
    assert left_after(act) == 0
