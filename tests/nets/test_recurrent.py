"""Our recurrent net is torch's, over what is not padding."""

import torch
from torch import nn

from quickstudy.nets.recurrent import Recurrent


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(layers: int) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(3, 4, layers).double()


def torchs(net: Recurrent) -> nn.LSTM:
    peer = nn.LSTM(3, 4, num_layers=len(net.cells)).double()
    weights = {}
    for layer, cell in enumerate(net.cells):
        weights[f"weight_ih_l{layer}"], weights[f"bias_ih_l{layer}"] = cell.of_input.weight, cell.of_input.bias
        weights[f"weight_hh_l{layer}"] = cell.of_hidden.weight
        weights[f"bias_hh_l{layer}"] = torch.zeros(16, dtype=torch.float64)
    peer.load_state_dict(weights)
    return peer


def test_a_sequence_is_read_as_torch_does():
    for layers in (1, 2):
        net = build(layers)
        x, mask = random(6, 3), torch.tensor([True, False, True, True, False, True])
        said, states = net(x, mask, net.start())
        expected, (hidden, cell) = torchs(net)(x[mask])
        torch.testing.assert_close(said[mask], expected)
        torch.testing.assert_close(torch.stack([state[0] for state in states]), hidden)
        torch.testing.assert_close(torch.stack([state[1] for state in states]), cell)


def test_a_step_is_one_input_more_for_each_alone():
    net, x, next_ones = build(2), random(5, 3), random(3, 3, seed=1)
    every = torch.ones(5, dtype=torch.bool)
    _, states = net(x, every, net.start())
    said, after = net.step(next_ones, states)
    for i, one in enumerate(next_ones):
        whole, ends = net(torch.cat([x, one[None]]), torch.ones(6, dtype=torch.bool), net.start())
        torch.testing.assert_close(said[i], whole[-1])
        for (hidden, cell), (ended, held) in zip(after, ends, strict=True):
            torch.testing.assert_close((hidden[i], cell[i]), (ended, held))


def test_nothing_read_leaves_the_start():
    net = build(2)
    said, states = net(random(0, 3), torch.ones(0, dtype=torch.bool), net.start())
    assert said.shape == (0, 4)
    assert not any(part.any() for state in states for part in state)


def test_forgets_little_at_first():
    biases = [cell.of_input.bias.view(4, 4).mean(1) for cell in build(2).cells]
    assert all(bias[1] > 0.5 and bias[[0, 2, 3]].abs().max() < 0.5 for bias in biases)
