"""Kernel machines in closed form against ones fitted without each row; and what may not matter to the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quickstudy import Episode, Examples
from quickstudy.methods.memory.against_rest import AgainstRest, Scale
from quickstudy.methods.memory.kernelpfn import PENALTIES, KernelPFN, _machines
from quickstudy.methods.memory.machines import REACH
from quickstudy.methods.memory.tablepfn import TablePFN
from quickstudy.nets import Flatten

ROWS, COLUMNS, WAYS = 12, 5, 3


def build(cls: type[AgainstRest] = KernelPFN) -> AgainstRest:
    torch.manual_seed(0)
    method = cls(Flatten((COLUMNS,)), WAYS, width=8, hidden=16, heads=2, layers=2).double()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return method


def table(rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    y = torch.eye(WAYS, dtype=torch.bool)[torch.arange(rows) % WAYS]
    return Examples(x, y, torch.ones(rows, dtype=torch.bool))


def says(method: AgainstRest, given: Examples, asked: torch.Tensor) -> torch.Tensor:
    return method.predict(method.adapt(given), asked).mean


both = pytest.mark.parametrize("cls", [KernelPFN, TablePFN])


def kernels(one: np.ndarray, other: np.ndarray, ranks: np.ndarray, others: np.ndarray) -> list[float]:
    apart = np.square(one - other).sum()
    near = np.exp(-0.5 * np.square((ranks - others) / REACH))
    return [1 + one @ other / COLUMNS, 1 + near.mean(), 1 + np.exp(-apart / (2 * COLUMNS))]


def test_scores_are_those_of_machines_fitted_without_the_row():
    given = table()
    scale = Scale(given.x, given.mask)
    z = np.arcsinh((given.x.numpy() - given.x.numpy().mean(0)) / given.x.numpy().std(0))
    order = given.x.numpy().argsort(0).argsort(0)
    ranks = (order + 0.5) / ROWS
    y = 2.0 * given.y[:, 1].numpy() - 1
    weights, scores = _machines(scale, scale.rank(given.x), torch.from_numpy(y)[None])
    assert scores.shape == (1, ROWS, 3 * len(PENALTIES))
    gram = np.array([[kernels(z[i], z[j], ranks[i], ranks[j]) for j in range(ROWS)] for i in range(ROWS)])
    for at in range(3 * len(PENALTIES)):
        kernel, penalty = gram[..., at // len(PENALTIES)], PENALTIES[at % len(PENALTIES)]
        whole = np.linalg.solve(kernel + penalty * np.eye(ROWS), y)
        np.testing.assert_allclose(weights[0, at], whole, rtol=1e-8)
        for i in range(ROWS):
            rest = np.delete(np.arange(ROWS), i)
            fitted = np.linalg.solve(kernel[np.ix_(rest, rest)] + penalty * np.eye(ROWS - 1), y[rest])
            assert float(scores[0, i, at]) == pytest.approx(kernel[i, rest] @ fitted, rel=1e-6)


@both
def test_the_order_of_rows_and_columns_does_not_matter(cls):
    method, given, asked = build(cls), table(), table(4, seed=1).x
    plain = says(method, given, asked)
    turned = Examples(*(field.flip(0) for field in given))
    torch.testing.assert_close(says(method, turned, asked), plain)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(says(method, given._replace(x=given.x[:, order]), asked[:, order]), plain)


@both
def test_the_order_of_classes_does_not_matter(cls):
    method, given, asked = build(cls), table(), table(4, seed=1).x
    names = torch.tensor([2, 0, 1])
    said = says(method, given._replace(y=given.y[:, names]), asked)
    torch.testing.assert_close(said, says(method, given, asked)[:, names])
    two = given._replace(y=torch.stack([given.y[:, 0], ~given.y[:, 0]], 1))
    turned = two._replace(y=two.y.flip(1))
    torch.testing.assert_close(says(method, turned, asked), says(method, two, asked).flip(1))


@both
def test_scale_and_place_of_columns_do_not_matter(cls):
    method, given, asked = build(cls), table(), table(4, seed=1).x
    scale, place = torch.tensor([1e-4, 2.0, 30.0, 1e5, 0.1]), torch.tensor([0.0, -5.0, 1.0, 1e3, 2.0])
    said = says(method, given._replace(x=given.x * scale + place), asked * scale + place)
    torch.testing.assert_close(said, says(method, given, asked))


@both
def test_columns_of_one_value_are_not_there(cls):
    method, given, asked = build(cls), table(), table(4, seed=1).x
    for value in (0.0, 7.0):
        wide = given._replace(x=torch.cat([given.x, torch.full((ROWS, 2), value, dtype=torch.float64)], 1))
        more = torch.cat([asked, torch.tensor([[value, value + 3]]).double().expand(4, 2)], 1)
        torch.testing.assert_close(says(method, wide, more), says(method, given, asked))


@both
def test_any_number_of_columns_is_read(cls):
    method = build(cls)
    for columns in (1, 2, 40):
        mean = says(method, table(columns=columns), table(4, columns, seed=1).x)
        assert mean.shape == (4, WAYS)
        torch.testing.assert_close(mean.sum(1), torch.ones(4, dtype=torch.float64))


@both
def test_two_classes_are_learned_from_the_second(cls):
    """And what is learned of them is what the pass for that class says."""
    method, given, asked = build(cls), table(), table(6, seed=1)
    y = torch.stack([given.y[:, 0], ~given.y[:, 0]], 1)
    truth = torch.stack([asked.y[:, 0], ~asked.y[:, 0]], 1)
    loss = method.meta_loss(Episode(given._replace(y=y), asked._replace(y=truth)))
    logit = method.ask(method.adapt(given._replace(y=y)), asked.x)[1]
    torch.testing.assert_close(loss, torch.nn.functional.binary_cross_entropy_with_logits(logit, truth[:, 1].double()))


@both
@pytest.mark.parametrize("rows", [1, 2])
def test_small_tables_are_read(cls, rows):
    assert bool(says(build(cls), table(rows), table(4, seed=1).x).isfinite().all())
