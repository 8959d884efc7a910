"""An LSTM that learns in its state, against torch's, and its pooled form by hand."""

import pytest
import torch
from torch import nn

from helpers import random_points
from quickstudy import Examples
from quickstudy.checks import CHECKS, parametrised
from quickstudy.methods.memory.lstm import LSTM
from quickstudy.nets import Flatten


def build(**settings) -> LSTM:
    torch.manual_seed(0)
    return LSTM(Flatten((2,)), 1, likelihood="gaussian", width=5, **settings).double()


def test_it_is_torchs_lstm_on_inputs_and_the_labels_before_them():
    method, points = build(), random_points(6)
    peer = nn.LSTM(3, 5).double()
    (cell,) = method.recurrent.cells
    zeros = torch.zeros(20, dtype=torch.float64)
    peer.load_state_dict(
        {
            "weight_ih_l0": cell.of_input.weight,
            "bias_ih_l0": cell.of_input.bias,
            "weight_hh_l0": cell.of_hidden.weight,
            "bias_hh_l0": zeros,
        }
    )
    labels = torch.cat([torch.zeros(1, 1), points.y[:-1]])
    expected = method.head(peer(torch.cat([points.x, labels], 1))[0])
    said = method.predict(method.adapt(Examples(*(field[:5] for field in points))), points.x[5:])
    torch.testing.assert_close(said.mean, expected[5:])


@pytest.mark.parametrize("passes", [1, 3])
def test_pooled_states_are_means_over_the_examples_that_count(passes):
    method, points = build(pool="mean", passes=passes, layers=2), random_points(4)
    mask = torch.tensor([True, False, True, True])
    learner = method.adapt(points._replace(mask=mask))
    states = [(torch.zeros(1, 5, dtype=torch.float64),) * 2 for _ in range(2)]
    for _ in range(passes):
        each = [[], []]
        for at in (0, 2, 3):
            read = torch.cat([points.x[at], points.y[at], torch.zeros(1)])[None]
            for layer, cell in enumerate(method.recurrent.cells):
                state = cell(read, states[layer])
                each[layer].append(state)
                read = state[0]
        states = [tuple(sum(part) / 3 for part in zip(*layer, strict=True)) for layer in each]
    for found, expected in zip(learner.state.states, states, strict=True):
        torch.testing.assert_close(found, tuple(part[0] for part in expected))
    read = torch.cat([points.x[1], torch.zeros(1), torch.ones(1)])[None]
    for layer, cell in enumerate(method.recurrent.cells):
        read = cell(read, states[layer])[0]
    torch.testing.assert_close(method.predict(learner, points.x[1:2]).mean, method.head(read))


def test_pooled_states_do_not_know_an_order():
    method, points, asked = build(pool="mean"), random_points(5), random_points(3, 1).x
    turned = Examples(*(field.flip(0) for field in points))
    said, other = (method.predict(method.adapt(each), asked).mean for each in (points, turned))
    torch.testing.assert_close(said, other)


@parametrised("lstm", chosen={"pool": "mean", "width": 32}, only=[name for name in CHECKS if name != "support order"])
def test_contract_with_pooled_states(case):
    result = case.run()
    assert result.passed, result.reason
