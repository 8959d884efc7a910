"""Functions of a Gaussian process have its covariance, and are the same however they are asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from quickstudy.core import tree
from quickstudy.core.episode import Examples, check_episodes
from quickstudy.errors import SettingsError, TaskError
from quickstudy.tasks.gp import GP, Parameters, covariance

KERNELS = ["rbf", "matern", "periodic"]


def closed_form(kernel: str, apart: float, length: float, scale: float, period: float) -> float:
    """One covariance by the textbook (Rasmussen and Williams 2006, section 4.2)."""
    if kernel == "rbf":
        return scale**2 * np.exp(-(apart**2) / (2 * length**2))
    if kernel == "matern":
        r = 5**0.5 * apart / length
        return scale**2 * (1 + r + r**2 / 3) * np.exp(-r)
    return scale**2 * np.exp(-2 * np.sin(np.pi * apart / period) ** 2 / length**2)


@pytest.mark.parametrize("kernel", KERNELS)
def test_covariance_is_the_closed_form(kernel):
    rng = np.random.default_rng(0)
    length, scale, period = rng.uniform(0.2, 1, (3, 2))
    x = rng.normal(size=(2, 4))
    found = covariance(kernel, Parameters(length, scale, period), x)
    for t in range(2):
        for i in range(4):
            for j in range(4):
                expected = closed_form(kernel, abs(x[t, i] - x[t, j]), length[t], scale[t], period[t])
                assert found[t, i, j] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_values_have_that_covariance(kernel):
    """Over many tasks with one length, scale and period: products of two values, by how far apart they are."""
    fixed = GP(kernel=kernel, length=(0.5, 0.5), scale=(0.8, 0.8), period=(0.7, 0.7), noise=0.3, shots=1, queries=1)
    batch = fixed.source("test").batch(range(200_000))
    apart = (batch.support.x - batch.query.x).abs().flatten().numpy()
    product = (batch.support.y * batch.query.y).flatten().double().numpy()
    edges = np.linspace(0, 2, 21)
    for low, high in itertools.pairwise(edges):
        inside = (apart >= low) & (apart < high)
        mean, error = product[inside].mean(), product[inside].std() / inside.sum() ** 0.5
        places = np.linspace(low, high, 41)
        # points are uniform, so distances r of an interval of length 4 have density ∝ 4 - r
        expected = np.average([closed_form(kernel, r, 0.5, 0.8, 0.7) for r in places], weights=4 - places)
        assert abs(mean - expected) < 4.5 * error + 1e-3
    assert batch.query.y.square().mean() == pytest.approx(0.8**2 + 0.3**2, rel=0.02)


def test_whitened_values_are_standard_normal():
    """With the parameters that a task says it was drawn with, all its points together."""
    source = GP(shots=5, queries=6).source()
    batch, parameters = source.batch(range(3000)), source.parameters(range(3000))
    x, y = (torch.cat([batch.query[i], batch.support[i]], 1).double().numpy()[..., 0] for i in (0, 1))
    cov = covariance("rbf", parameters, x) + 0.02**2 * np.eye(11)
    white = np.linalg.solve(np.linalg.cholesky(cov), y[..., None])[..., 0]
    assert abs(white.mean()) < 4 / white.size**0.5
    assert white.var() == pytest.approx(1, abs=4 * (2 / white.size) ** 0.5)
    assert abs((white[:, 1:] * white[:, :-1]).mean()) < 4 / white.size**0.5


def test_parameters_fill_their_ranges():
    parameters = GP().source().parameters(range(20_000))
    for values, (low, high) in zip(parameters, [(0.1, 0.6), (0.1, 1.0), (0.1, 0.5)], strict=True):
        assert low <= values.min() < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.01)
    batch = GP(interval=(2, 6), shots=10, queries=10).source().batch(range(2000))
    assert batch.support.x.min() > 2
    assert batch.support.x.max() < 6
    assert batch.support.x.mean() == pytest.approx(4, abs=0.05)


@pytest.mark.parametrize("padded", [False, True])
def test_numbers_not_order_make_a_task(padded):
    source = GP(same_shape=10, padded=padded).source("val", seed=4)
    whole, some = source.batch(range(10)), source.batch([7, 2])
    check_episodes(whole, "gp")
    for one, other in zip(tree.leaves(whole), tree.leaves(some), strict=True):
        assert torch.equal(one[[7, 2]], other)


def test_padding_changes_no_task():
    plain, padded = GP().source(), GP(padded=True).source()
    batch = padded.batch(range(30))
    assert batch.support.x.shape == (30, 46, 1)
    assert batch.query.x.shape == (30, 46, 1)
    sizes = set()
    for i in range(30):
        alone = tree.map_leaves(lambda leaf: leaf[0], plain.batch([i]))
        sizes.add((len(alone.support.x), len(alone.query.x)))
        for part, wide in zip(alone, batch, strict=True):
            kept = Examples(*(field[i][wide.mask[i]] for field in wide))
            assert all(torch.equal(a, b) for a, b in zip(part, kept, strict=True))
    assert len(sizes) > 20


def test_sizes_are_the_protocols():
    """Shots in 3 to 46, queries in 3 to 49 - shots, as in the published code; each as likely as the next."""
    batch = GP(padded=True).source().batch(range(20_000))
    shots, queries = batch.support.mask.sum(1), batch.query.mask.sum(1)
    assert (int(shots.min()), int(shots.max())) == (3, 46)
    assert int(queries.min()) == 3
    assert int((shots + queries).max()) == 49
    assert torch.bincount(shots)[3:].float().std() < 4 * (20_000 / 44) ** 0.5
    given = queries[shots == 30].float()
    assert float(given.mean()) == pytest.approx((3 + 19) / 2, abs=0.8)


def test_queries_stay_when_shots_change():
    few, many = (GP(shots=shots, queries=7).source().batch(range(5)) for shots in (2, 40))
    assert torch.equal(few.query.x, many.query.x)
    torch.testing.assert_close(few.query.y, many.query.y)


def test_batches_of_other_sizes_are_refused():
    with pytest.raises(TaskError, match=r"a batch holds one shape\. Set same_shape"):
        GP().source().batch(range(10))
    with pytest.raises(SettingsError, match=r"length is a range from 0\.6 to 0\.1; write the lower number first"):
        GP(length=(0.6, 0.1))


def test_splits_seeds_and_kernels_differ():
    sources = [GP().source(split, seed) for split in ("train", "val", "test") for seed in (0, 1)]
    assert len({s.fingerprint for s in sources}) == 6
    assert len({s.digest([0]) for s in sources}) == 6
    assert len({s.batch([0]).query.x.sum().item() for s in sources}) == 6
    assert len({GP(kernel=kernel).source().batch([3]).query.y.sum().item() for kernel in KERNELS}) == 3


def test_flat_batches_mix_functions():
    batch = GP(scale=(0.5, 0.5)).pool("train", batch=4000).batch([0, 1])
    assert batch.query.x.shape == (2, 4000, 1)
    assert batch.query.y.square().mean() == pytest.approx(0.25 + 0.02**2, rel=0.05)
    order = batch.query.x[0, :, 0].argsort()
    neighbours = batch.query.y[0, order, 0]
    assert abs(float((neighbours[1:] * neighbours[:-1]).mean())) < 0.25 * 4 / 4000**0.5
