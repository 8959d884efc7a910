"""A self-referential weight matrix against its equations, one head and one example at a time."""

import math

import pytest
import torch

from helpers import random_points
from quickstudy.errors import SettingsError
from quickstudy.methods.memory.srwm import SRWM, SelfReferential
from quickstudy.nets import Flatten


def build(**settings) -> SRWM:
    torch.manual_seed(0)
    settings = {"width": 6, "heads": 2, "layers": 2, **settings}
    method = SRWM(Flatten((2,)), 1, likelihood="gaussian", **settings).double()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return method


def by_hand(layer: SelfReferential, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What a layer makes of a sequence, and its matrices after it; W here has a row for each number that it says."""
    size = layer.size
    matrices = [weights.T.clone() for weights in layer.weights]
    out = []
    for each in x:
        said = []
        for head, part in enumerate(layer.norms[0](each).split(size)):
            w = matrices[head]
            whole = w @ part
            key, query, rates = whole[size : 2 * size].softmax(0), whole[2 * size : 3 * size].softmax(0), whole[-4:]
            rate = torch.cat([rates[i].sigmoid().expand(part) for i, part in enumerate([size, size, size, 4])])
            matrices[head] = w + torch.outer(rate * (w @ query - w @ key), key)
            said.append(whole[:size])
        added = each + layer.out(torch.cat(said))
        out.append(added + layer.perceptron(layer.norms[1](added)))
    return torch.stack(out), matrices


def test_a_layer_is_the_equations():
    layer = build().layers[0]
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out, weights = layer(x, torch.ones(5, dtype=torch.bool))
    expected, matrices = by_hand(layer, x)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(weights, torch.stack([matrix.T for matrix in matrices]))


def test_queries_are_read_by_the_changed_matrices_and_change_nothing():
    method, points, asked = build(), random_points(4), random_points(3, 1).x
    learner = method.adapt(points)
    x = method.embed(torch.cat([points.x, points.y, torch.zeros(4, 1)], 1))
    query = method.embed(torch.cat([asked, torch.zeros(3, 1), torch.ones(3, 1)], 1))
    for layer, found in zip(method.layers, learner.weights, strict=True):
        x, matrices = by_hand(layer, x)
        torch.testing.assert_close(found, torch.stack([matrix.T for matrix in matrices]))
        rows = []
        for each in query:
            parts = layer.norms[0](each).split(layer.size)
            said = torch.cat([(m @ part)[: layer.size] for m, part in zip(matrices, parts, strict=True)])
            added = each + layer.out(said)
            rows.append(added + layer.perceptron(layer.norms[1](added)))
        query = torch.stack(rows)
    torch.testing.assert_close(method.predict(learner, asked).mean, method.head(method.norm(query)))


def test_padding_changes_no_matrix():
    method, points = build(), random_points(5)
    mask = torch.tensor([True, False, True, False, True])
    padded = method.adapt(points._replace(mask=mask)).weights
    plain = method.adapt(type(points)(*(field[mask] for field in points))).weights
    for one, other in zip(padded, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_how_matrices_start():
    """Each input is its own key, sharpened; queries tell examples apart; rates are ½."""
    torch.manual_seed(0)
    y, key, query, rates = SelfReferential(256, 4).weights.detach().split([64, 64, 64, 4], -1)
    assert y.std() == pytest.approx(1 / math.sqrt(64), rel=0.05)
    assert torch.equal(key, 3 * torch.eye(64).expand(4, -1, -1))
    assert query.std() == pytest.approx(2 / math.sqrt(64), rel=0.05)
    assert not rates.any()


def test_what_is_written_is_read_by_what_resembles_it_from_the_start():
    """After one example with either of two labels, what is said of an input like it differs more than of another."""
    torch.manual_seed(0)
    layer = SelfReferential(64, 4)
    x, label, other = torch.randn(3, 20, 64).unbind()
    differences = []
    for one, its, far in zip(x, label, other, strict=True):
        changed = [layer((one + sign * its)[None], torch.ones(1, dtype=torch.bool))[1] for sign in (-0.5, 0.5)]
        said = [torch.stack([layer.said(each[None], weights)[0] for each in (one, far)]) for weights in changed]
        differences.append((said[0] - said[1]).norm(dim=-1))
    near, away = torch.stack(differences).mean(0)
    assert near > 1.5 * away


def test_heads_must_share_the_width():
    with pytest.raises(SettingsError, match="4 heads cannot share a width of 6"):
        build(heads=4)
