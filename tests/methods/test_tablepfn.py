"""A network that reads tables: what may not matter to it does not."""

from __future__ import annotations

import pytest
import torch

from quickstudy import Episode, Examples
from quickstudy.core import tree
from quickstudy.methods.memory.tablepfn import TablePFN
from quickstudy.nets import Flatten

ROWS, COLUMNS, WAYS = 12, 5, 3


def build() -> TablePFN:
    torch.manual_seed(0)
    method = TablePFN(Flatten((COLUMNS,)), WAYS, width=8, hidden=16, heads=2, layers=2).double()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return method


def table(rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    y = torch.eye(WAYS, dtype=torch.bool)[torch.arange(rows) % WAYS]
    return Examples(x, y, torch.ones(rows, dtype=torch.bool))


def says(method: TablePFN, given: Examples, asked: torch.Tensor) -> torch.Tensor:
    return method.predict(method.adapt(given), asked).mean


def test_the_order_of_rows_and_columns_does_not_matter():
    method, given, asked = build(), table(), table(4, seed=1).x
    plain = says(method, given, asked)
    turned = Examples(*(field.flip(0) for field in given))
    torch.testing.assert_close(says(method, turned, asked), plain)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(says(method, given._replace(x=given.x[:, order]), asked[:, order]), plain)


def test_the_order_of_classes_does_not_matter():
    method, given, asked = build(), table(), table(4, seed=1).x
    names = torch.tensor([2, 0, 1])
    said = says(method, given._replace(y=given.y[:, names]), asked)
    torch.testing.assert_close(said, says(method, given, asked)[:, names])
    two = given._replace(y=torch.stack([given.y[:, 0], ~given.y[:, 0]], 1))
    turned = two._replace(y=two.y.flip(1))
    torch.testing.assert_close(says(method, turned, asked), says(method, two, asked).flip(1))


def test_scale_and_place_of_columns_do_not_matter():
    method, given, asked = build(), table(), table(4, seed=1).x
    scale, place = torch.tensor([1e-4, 2.0, 30.0, 1e5, 0.1]), torch.tensor([0.0, -5.0, 1.0, 1e3, 2.0])
    said = says(method, given._replace(x=given.x * scale + place), asked * scale + place)
    torch.testing.assert_close(said, says(method, given, asked))


def test_columns_of_one_value_are_not_there():
    method, given, asked = build(), table(), table(4, seed=1).x
    for value in (0.0, 7.0):
        wide = given._replace(x=torch.cat([given.x, torch.full((ROWS, 2), value, dtype=torch.float64)], 1))
        more = torch.cat([asked, torch.tensor([[value, value + 3]]).double().expand(4, 2)], 1)
        torch.testing.assert_close(says(method, wide, more), says(method, given, asked))


def test_any_number_of_columns_is_read():
    method = build()
    for columns in (1, 2, 40):
        mean = says(method, table(columns=columns), table(4, columns, seed=1).x)
        assert mean.shape == (4, WAYS)
        torch.testing.assert_close(mean.sum(1), torch.ones(4, dtype=torch.float64))


def test_two_classes_are_learned_from_the_second():
    """And what is learned of them is what the pass for that class says."""
    method, given, asked = build(), table(), table(6, seed=1)
    y = torch.stack([given.y[:, 0], ~given.y[:, 0]], 1)
    truth = torch.stack([asked.y[:, 0], ~asked.y[:, 0]], 1)
    loss = method.meta_loss(Episode(given._replace(y=y), asked._replace(y=truth)))
    learner = method.adapt(given._replace(y=y))
    logit = method._ask(learner, asked.x)[1]
    target = truth[:, 1].double()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logit, target)
    torch.testing.assert_close(loss, expected)


def test_a_learner_answers_without_the_support():
    """Keys and values are all it needs: they are not made again."""
    method, given, asked = build(), table(), table(4, seed=1).x
    learner = method.adapt(given)
    shapes = {tuple(leaf.shape) for memory in learner.memories for leaf in memory}
    assert shapes == {(WAYS, COLUMNS + 1, 2, ROWS, 4)}
    plain = method.predict(learner, asked).mean
    forgotten = tree.map_leaves(torch.zeros_like, learner.memories)
    assert not torch.allclose(method.predict(learner._replace(memories=forgotten), asked).mean, plain)


@pytest.mark.parametrize("rows", [1, 2])
def test_small_tables_are_read(rows):
    assert bool(says(build(), table(rows), table(4, seed=1).x).isfinite().all())
