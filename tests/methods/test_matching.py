"""Matching networks against the paper's formulas, written out by hand."""

import math

import torch

from helpers import random_episodes
from quickstudy import Episode
from quickstudy.checks import CHECKS, parametrised
from quickstudy.core import tree
from quickstudy.methods.metric.context import QueryContext, SupportContext
from quickstudy.methods.metric.matching import MatchingNet
from quickstudy.nets import Flatten
from quickstudy.nets.recurrent import Cell


def one() -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64))


def test_votes_are_weighted_by_a_softmax_of_scaled_cosines():
    """Equations 1 and 2, one query and one example at a time."""
    episode, method = one(), MatchingNet(Flatten((3,)), scale=4.0).double()
    support = episode.support
    said = method.predict(method.adapt(support), episode.query.x)
    for x, p in zip(episode.query.x, said.mean, strict=True):
        weights = [math.exp(4 * float(x @ key / (x.norm() * key.norm()))) for key in support.x]
        votes = [sum(w for w, y in zip(weights, support.y, strict=True) if y[k]) / sum(weights) for k in range(len(p))]
        torch.testing.assert_close(p, torch.tensor(votes, dtype=torch.float64))


def test_a_class_without_support_gets_no_vote_and_no_nan():
    episode, method = one(), MatchingNet(torch.nn.Sequential(torch.nn.Linear(3, 4))).double()
    support = episode.support
    absent = support._replace(mask=support.mask & ~support.y[:, 0].bool())
    said = method.predict(method.adapt(absent), episode.query.x)
    assert (said.mean[:, 0] == 0).all()
    asked = ~episode.query.y[:, 0].bool()
    said.nll(episode.query.y)[asked].sum().backward()
    assert all(weight.grad.isfinite().all() for weight in method.parameters())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def torchs(cell: Cell, inputs: int, width: int) -> dict[str, torch.Tensor]:
    """A cell's weights as torch names them."""
    zeros = torch.zeros(4 * width, dtype=torch.float64)
    return {
        "weight_ih": cell.of_input.weight,
        "bias_ih": cell.of_input.bias,
        "weight_hh": cell.of_hidden.weight,
        "bias_hh": zeros,
    }


def test_the_cell_is_torchs():
    cell, peer = Cell(3, 4).double(), torch.nn.LSTMCell(3, 4).double()
    peer.load_state_dict(torchs(cell, 3, 4))
    x, state = random(5, 3), (random(5, 4, seed=1), random(5, 4, seed=2))
    torch.testing.assert_close(cell(x, state), peer(x, state))


def test_the_support_is_read_both_ways_in_the_order_of_its_lengths():
    """torch's bidirectional LSTM over the examples that count, the shortest first."""
    context, peer = SupportContext(3).double(), torch.nn.LSTM(3, 3, bidirectional=True).double()
    weights = {f"{name}_l0": value for name, value in torchs(context.there, 3, 3).items()}
    weights |= {f"{name}_l0_reverse": value for name, value in torchs(context.back, 3, 3).items()}
    peer.load_state_dict(weights)
    z, mask = random(6, 3), torch.tensor([True, False, True, True, False, True])
    said = context(z, mask)
    order = sorted((at for at in range(6) if mask[at]), key=lambda at: float(z[at].norm()))
    both, _ = peer(z[order])
    for place, at in enumerate(order):
        torch.testing.assert_close(said[at], z[at] + both[place, :3] + both[place, 3:])


def test_a_query_is_read_for_in_steps():
    """Equations 3 to 6 of the paper, one query and one read at a time."""
    context, z, keys = QueryContext(2, reads=3).double(), random(4, 2), random(5, 2, seed=1)
    counted = torch.tensor([True, True, False, True, True])
    weight, bias, of_hidden = context.cell.of_input.weight, context.cell.of_input.bias, context.cell.of_hidden.weight
    for query, said in zip(z, context(z, keys, counted), strict=True):
        hidden, cell = query, torch.zeros(2, dtype=torch.float64)
        for _ in range(3):
            a = torch.exp(keys[counted] @ hidden)
            read = (a / a.sum()) @ keys[counted]
            entry, forget, new, out = (weight @ query + bias + of_hidden @ torch.cat([hidden, read])).view(4, 2)
            cell = forget.sigmoid() * cell + entry.sigmoid() * new.tanh()
            hidden = out.sigmoid() * cell.tanh() + query
        torch.testing.assert_close(said, hidden)


@parametrised("matching", chosen={"context": "full", "reads": 2}, only=[name for name in CHECKS if name != "learns"])
def test_contract_in_full_context(case):
    result = case.run()
    assert result.passed, result.reason


def test_the_default_has_the_weights_that_it_had():
    assert list(MatchingNet(Flatten((3,))).state_dict()) == ["log_scale"]
