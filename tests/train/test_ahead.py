"""Episodes sampled ahead are those asked for."""

import torch

from quickstudy.core import tree
from quickstudy.tasks.sines import Sines
from quickstudy.train.ahead import Ahead
from train.runs import SOURCE


class Counting:
    def __init__(self) -> None:
        self.asked: list[range] = []

    def batch(self, numbers: range):
        self.asked.append(numbers)
        return SOURCE.batch(numbers)


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tree.leaves(one), tree.leaves(other), strict=True))


def test_the_next_step_is_sampled_before_it_is_asked_for():
    source = Counting()
    ahead = Ahead(torch.device("cpu"), threaded=True)
    assert same(ahead.take(source, range(0, 6, 2)), SOURCE.batch(range(0, 6, 2)))
    ahead.begin(source, range(6, 12, 2))
    assert same(ahead.take(source, range(6, 12, 2)), SOURCE.batch(range(6, 12, 2)))
    assert source.asked == [range(0, 6, 2), range(6, 12, 2)]


def test_a_wrong_guess_costs_nothing_but_time():
    source = Counting()
    ahead = Ahead(torch.device("cpu"), threaded=True)
    ahead.begin(source, range(3, 6))
    assert same(ahead.take(source, range(9, 12)), SOURCE.batch(range(9, 12)))
    ahead.begin(source, range(3))
    assert same(ahead.take(Sines().source("val"), range(3)), Sines().source("val").batch(range(3)))


def test_a_processor_samples_nothing_ahead():
    source = Counting()
    ahead = Ahead(torch.device("cpu"))
    ahead.take(source, range(3))
    ahead.begin(source, range(3, 6))
    assert source.asked == [range(3)]
