"""Sums of gradients: whatever the order, and of whatever weights have one."""

import torch

from quickstudy.core.workers import Workers
from quickstudy.train.sums import Sums


def summed(chunks, order):
    weight = torch.zeros(1000)
    sums = Sums([weight], weight.device)
    for number in order:
        weight.grad = chunks[number].clone()
        sums.add(chunks[number][0])
        assert weight.grad is None
    loss = sums.leave(Workers())
    return loss, weight.grad


def test_the_order_of_chunks_does_not_matter():
    chunks = torch.randn(64, 1000, generator=torch.Generator().manual_seed(0))
    loss, slope = summed(chunks, range(64))
    assert slope.dtype == torch.float32
    torch.testing.assert_close(slope, chunks.double().sum(0).float(), rtol=1e-7, atol=1e-7)
    assert float(loss) == float(chunks[:, 0].double().sum())
    for order in (reversed(range(64)), torch.randperm(64, generator=torch.Generator().manual_seed(1)).tolist()):
        again = summed(chunks, order)[1]
        assert torch.equal(again, slope)
    halves = [sum(chunks[start : start + 32].unbind()) for start in (0, 32)]
    assert not torch.equal(halves[0] + halves[1], sum(chunks.unbind())), "in float32 it would matter"


def test_weights_without_a_gradient_stay_without():
    weights = [torch.zeros(2), torch.zeros(3, dtype=torch.bfloat16)]
    sums = Sums(weights, weights[0].device)
    weights[1].grad = torch.ones(3, dtype=torch.bfloat16)
    sums.add(torch.tensor(1.0))
    sums.add(torch.tensor(2.0))
    assert sums.leave(Workers()) == 3
    assert weights[0].grad is None
    assert weights[1].grad.tolist() == [1, 1, 1]
    assert weights[1].grad.dtype == torch.bfloat16
