"""A memory-augmented net against its equations, one slot at a time."""

import numpy as np
import pytest
import torch

from helpers import random_points
from quickstudy.core import tree
from quickstudy.errors import SettingsError
from quickstudy.methods.memory.mann import MANN, TINY, _least_used
from quickstudy.nets import Flatten

SLOTS, SIZE, HEADS = 5, 3, 2


def build(**settings) -> MANN:
    torch.manual_seed(0)
    settings = {"slots": SLOTS, "size": SIZE, "heads": HEADS, "width": 4, **settings}
    method = MANN(Flatten((2,)), 1, likelihood="gaussian", **settings).double()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    return method


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_hand(method: MANN, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is said of each input, and the memory at last: the equations of section 3 with one loop for each index."""
    weights = {name: value.detach().numpy() for name, value in method.named_parameters()}
    hidden, cell, read, label = np.zeros(4), np.zeros(4), np.zeros(HEADS * SIZE), np.zeros(1)
    memory, usage, reading = np.zeros((SLOTS, SIZE)), 1e-3 * np.arange(SLOTS) / SLOTS, np.zeros((HEADS, SLOTS))
    said = []
    for each, known in zip(x, y, strict=True):
        gates = weights["cell.of_input.weight"] @ np.concatenate([each, label]) + weights["cell.of_input.bias"]
        gates = gates + weights["cell.of_hidden.weight"] @ np.concatenate([hidden, read])
        entry, forget, new, out = gates.reshape(4, 4)
        cell = sigmoid(forget) * cell + sigmoid(entry) * np.tanh(new)
        hidden = sigmoid(out) * np.tanh(cell)
        keys = np.tanh(weights["keys.weight"] @ hidden + weights["keys.bias"]).reshape(HEADS, SIZE)
        mix = sigmoid(weights["gates.weight"] @ hidden + weights["gates.bias"])
        least = np.argsort(usage)[:HEADS]
        writing = np.zeros((HEADS, SLOTS))
        for head in range(HEADS):
            for slot in range(SLOTS):
                writing[head, slot] = mix[head] * reading[head, slot] + (1 - mix[head]) * (slot == least[head])
        memory[least] = 0
        for head in range(HEADS):
            for slot in range(SLOTS):
                memory[slot] += writing[head, slot] * keys[head]
        for head in range(HEADS):
            lengths = np.sqrt((memory**2).sum(1) * (keys[head] ** 2).sum() + TINY)
            scores = np.exp(method.strength * (memory @ keys[head]) / lengths)
            reading[head] = scores / scores.sum()
        usage = method.decay * usage + reading.sum(0) + writing.sum(0)
        read = np.concatenate([weight @ memory for weight in reading])
        said.append(weights["head.weight"] @ np.concatenate([hidden, read]) + weights["head.bias"])
        label = known
    return np.array(said), memory


def test_it_is_the_equations():
    method, points = build(), random_points(9)
    said, (held, label) = method.read(points.x, points.y, points.mask)
    expected, memory = by_hand(method, points.x.numpy(), points.y.numpy())
    np.testing.assert_allclose(said.detach().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(held.memory.detach().numpy(), memory, atol=1e-6)
    torch.testing.assert_close(label, points.y[-1])


def test_padding_is_neither_written_nor_forgotten():
    method, points = build(), random_points(6)
    mask = torch.tensor([False, True, True, False, True, True])
    _, (padded, _) = method.read(points.x, points.y * mask[:, None], mask)
    _, (plain, _) = method.read(points.x[mask], points.y[mask], torch.ones(4, dtype=torch.bool))
    for one, other in zip(tree.leaves(padded), tree.leaves(plain), strict=True):
        torch.testing.assert_close(one, other)


def test_the_least_used_slots_are_written():
    rows = _least_used(torch.tensor([0.4, 0.1, 0.3, 0.2]), 3)
    assert rows.int().argmax(1).tolist() == [1, 3, 2]
    assert (rows.sum(1) == 1).all()


def test_heads_need_slots():
    with pytest.raises(SettingsError, match="4 heads write to as many slots at once, but there are 3"):
        build(slots=3, heads=4)
