"""Gaussian processes in closed form against ones fitted without each row; and what may not matter to the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quickstudy import Episode, Examples
from quickstudy.methods.memory.against_rest import Scale
from quickstudy.methods.memory.kernelmixture import KERNELS, MACHINES, PENALTIES, SQUARES, KernelMixture, _told
from quickstudy.methods.memory.machines import REACH
from quickstudy.nets import Flatten

ROWS, COLUMNS = 14, 5


def build(moved: float = 0.1) -> KernelMixture:
    torch.manual_seed(0)
    method = KernelMixture(Flatten((COLUMNS,)), 1, width=8, hidden=16, heads=2, layers=2).double()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(moved * torch.randn_like(weight))
    return method


def table(rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, -1:] + 0.1 * torch.randn(rows, 1, generator=generator).double()
    return Examples(x, y, torch.ones(rows, dtype=torch.bool))


def says(method: KernelMixture, given: Examples, asked: torch.Tensor) -> torch.Tensor:
    said = method.predict(method.adapt(given), asked)
    return torch.stack([said.mean, said.std])


def alike(i: int, j: int, z: np.ndarray, ranks: np.ndarray, told: np.ndarray) -> list[float]:
    far = np.square(z[i] - z[j])
    near = np.exp(-0.5 * np.square((ranks[i] - ranks[j]) / REACH))
    of_told = np.exp(-0.5 * far @ told)
    return [
        1 + z[i] @ z[j] / COLUMNS,
        1 + near.mean(),
        1 + np.exp(-0.5 * far.mean()),
        1 + near @ told,
        1 + of_told,
        1 + np.exp(-0.5 * 4 * far @ told),
    ]


def test_errors_and_means_are_those_of_processes_fitted_without_the_row():
    """A network that has learned nothing stacks them: it weighs posterior means by their leave-one-out errors."""
    given, asked = table(), table(3, seed=1).x
    method = build(moved=0.0)
    learner = method.adapt(given)
    x = np.concatenate([given.x.numpy(), asked.numpy()])
    z = np.arcsinh((x - x[:ROWS].mean(0)) / x[:ROWS].std(0))
    ranks = (np.sign(x[:, None] - x[None, :ROWS]).mean(1) + 1) / 2
    y = given.y[:, 0].numpy()
    y = (y - y.mean()) / y.std()
    told = learner.told[0].numpy()
    gram = np.array([[alike(i, j, z, ranks, told) for j in range(ROWS)] for i in range(ROWS + 3)])
    errors, means = [np.ones(())], [np.zeros(3)]
    for at in reversed(range(KERNELS * len(PENALTIES))):
        kernel, penalty = gram[..., at // len(PENALTIES)], PENALTIES[at % len(PENALTIES)]
        left = []
        for i in range(ROWS):
            rest = np.delete(np.arange(ROWS), i)
            own = np.linalg.solve(kernel[np.ix_(rest, rest)] + penalty * np.eye(ROWS - 1), y[rest])
            left.append(y[i] - kernel[i, rest] @ own)
        errors.insert(0, np.sqrt(np.mean(np.square(left))))
        means.insert(0, kernel[ROWS:] @ np.linalg.solve(kernel[:ROWS] + penalty * np.eye(ROWS), y))
    np.testing.assert_allclose(learner.errors[0].numpy(), errors, rtol=1e-6)
    said = method.predict(learner, asked)
    weight = np.exp(-np.sqrt(ROWS) * np.log(errors))
    whole = (weight / weight.sum()) @ np.array(means)
    spread = given.y.numpy().std()
    np.testing.assert_allclose(said.mean[:, 0].detach().numpy(), given.y.mean().item() + spread * whole, rtol=1e-6)
    np.testing.assert_allclose(said.stds[0, 0].detach().numpy(), spread * np.array(errors), rtol=1e-6)


def test_columns_are_told_by_what_they_say_alone():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=generator, dtype=torch.float64)
    x[:, 3] = 7.0
    y = x[:, 0] + (x[:, 1].square() - 1)
    scale = Scale(x, torch.ones(200, dtype=torch.bool))
    (share,) = _told(scale, scale.rank(scale.x), ((y - y.mean()) / y.std(correction=0))[None])
    assert float(share.sum()) == pytest.approx(1)
    assert float(share[:2].min()) > 0.3, "a line and a bow"
    assert float(share[2]) < 0.05
    assert float(share[3]) == 0


def test_the_order_of_rows_and_columns_does_not_matter():
    method, given, asked = build(), table(), table(4, seed=1).x
    plain = says(method, given, asked)
    torch.testing.assert_close(says(method, Examples(*(field.flip(0) for field in given)), asked), plain)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(says(method, given._replace(x=given.x[:, order]), asked[:, order]), plain)


def test_scale_and_place_of_columns_do_not_matter():
    method, given, asked = build(), table(), table(4, seed=1).x
    scale, place = torch.tensor([1e-4, 2.0, 30.0, 1e5, 0.1]), torch.tensor([0.0, -5.0, 1.0, 1e3, 2.0])
    said = says(method, given._replace(x=given.x * scale + place), asked * scale + place)
    torch.testing.assert_close(said, says(method, given, asked))


def test_values_are_predicted_on_their_scale():
    method, given, asked = build(), table(), table(4, seed=1).x
    mean, std = says(method, given, asked)
    moved = says(method, given._replace(y=500 - 20 * given.y), asked)
    assert not torch.allclose(moved[0], 500 - 20 * mean), "a network may tell high from low"
    torch.testing.assert_close(
        says(method, given._replace(y=500 + 20 * given.y), asked), torch.stack([500 + 20 * mean, 20 * std])
    )


def test_several_values_are_predicted_by_themselves():
    method, given, asked = build(), table(), table(4, seed=1).x
    other = given._replace(y=given.x[:, 2:3].cos())
    both = says(method, given._replace(y=torch.cat([given.y, other.y], 1)), asked)
    torch.testing.assert_close(both, torch.cat([says(method, each, asked) for each in (given, other)], -1))


def test_columns_of_one_value_and_rows_that_do_not_count_are_not_there():
    method, given, asked = build(), table(), table(4, seed=1).x
    wide = given._replace(x=torch.cat([given.x, torch.full((ROWS, 2), 7.0, dtype=torch.float64)], 1))
    more = torch.cat([asked, torch.tensor([[7.0, 10.0]]).double().expand(4, 2)], 1)
    torch.testing.assert_close(says(method, wide, more), says(method, given, asked))
    padded = Examples(*(torch.cat([one, one[:3] + 1]) for one in given[:2]), torch.arange(ROWS + 3) < ROWS)
    torch.testing.assert_close(says(method, padded, asked), says(method, given, asked))


def test_single_precision_says_the_same():
    """With little noise matrices are near to singular, and are inverted in double precision."""
    given, asked = table(60), table(20, seed=1).x
    exact = given._replace(y=given.x[:, :1])
    double, single = build(), build().float()
    said = says(single, Examples(exact.x.float(), exact.y.float(), exact.mask), asked.float())
    torch.testing.assert_close(said.double(), says(double, exact, asked), rtol=1e-3, atol=1e-3)


def test_the_loss_is_likelihood_and_squares():
    method, given, query = build(), table(), table(6, seed=1)
    query = query._replace(mask=torch.arange(6) < 4)
    said = method.predict(method.adapt(given), query.x)
    each = said.nll(query.y) + SQUARES * said.score(query.y) / given.y.var(correction=0)
    torch.testing.assert_close(method.meta_loss(Episode(given, query)), each[:4].mean())


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_constant_values_and_small_tables_are_read(rows):
    given = table(rows)
    mean, std = says(build(0.0), given._replace(y=torch.full_like(given.y, 3.0)), table(4, seed=1).x)
    torch.testing.assert_close(mean, torch.full_like(mean, 3.0))
    assert bool((std > 0).all())
    assert build().predict(build().adapt(given), given.x).logits.shape == (rows, 1, MACHINES)
    assert bool(says(build(), given, table(4, seed=1).x).isfinite().all())
