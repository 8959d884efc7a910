"""SNAIL against one pass of torch's convolutions and attention over support and query together."""

import math

import pytest
import torch
from torch.nn import functional as F

from helpers import random_points
from quickstudy import Examples
from quickstudy.methods.memory.snail import SNAIL, Find, Look
from quickstudy.nets import Flatten


def build(**settings) -> SNAIL:
    torch.manual_seed(0)
    settings = {"reach": 8, "filters": 3, "keys": (4, 5, 6), "values": (2, 3, 4), **settings}
    return SNAIL(Flatten((2,)), 1, likelihood="gaussian", **settings).double()


def one_pass(method: SNAIL, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """What is said at the last position of a sequence, whose label is 0."""
    out = torch.cat([x, torch.cat([y, torch.zeros(1, 1)])], 1)
    for layer in method.layers:
        if isinstance(layer, Look):
            kernel = torch.stack([layer.then.weight, layer.now.weight], -1)
            padded = F.pad(out.T[None], (layer.apart, 0))
            said = F.conv1d(padded, kernel, layer.now.bias, dilation=layer.apart)[0].T
            said = said[:, : said.shape[1] // 2].tanh() * said[:, said.shape[1] // 2 :].sigmoid()
        else:
            queries, keys, values = layer.of_query(out), layer.of_key(out), layer.of_value(out)
            scores = queries @ keys.T / math.sqrt(keys.shape[1])
            later = torch.ones_like(scores, dtype=torch.bool).triu(1)
            said = scores.masked_fill(later, -torch.inf).softmax(-1) @ values
        out = torch.cat([out, said], 1)
    return method.head(out[-1:])


@pytest.mark.parametrize("examples", [0, 1, 5, 11])
def test_queries_are_each_the_next_position_of_one_pass(examples):
    method, points, asked = build(), random_points(examples), random_points(3, 1).x
    said = method.predict(method.adapt(points), asked).mean
    for i, x in enumerate(asked):
        expected = one_pass(method, torch.cat([points.x, x[None]]), points.y)
        torch.testing.assert_close(said[i : i + 1], expected)


def test_padding_does_not_move_what_lies_before():
    method, points, asked = build(), random_points(7), random_points(3, 1).x
    mask = torch.tensor([True, False, True, True, False, False, True])
    kept = Examples(*(field[mask] for field in points))
    padded = method.predict(method.adapt(points._replace(mask=mask)), asked).mean
    torch.testing.assert_close(padded, method.predict(method.adapt(kept), asked).mean)


@pytest.mark.parametrize(("reach", "layers"), [(2, 1), (8, 3), (9, 4), (26, 5)])
def test_a_block_reaches_as_far_as_asked(reach, layers):
    method = build(reach=reach)
    apart = [layer.apart for layer in method.layers if isinstance(layer, Look)]
    assert apart == [2**i for i in range(layers)] * 2
    assert sum(isinstance(layer, Find) for layer in method.layers) == 3
    assert 1 + sum(apart[:layers]) >= reach
