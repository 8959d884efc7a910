"""Functions linear in known features: least squares finds them, and their inputs are spread as asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quickstudy.core import tree
from quickstudy.core.episode import check_episodes
from quickstudy.errors import SettingsError
from quickstudy.tasks.linear import Linear, Quadratics, quadratic_features

FAMILIES = [Linear(size=4), Quadratics()]


@pytest.mark.parametrize("family", FAMILIES, ids=["linear", "quadratics"])
def test_least_squares_on_the_support_gives_the_weights_and_the_query(family):
    source = family.source("test", 3)
    batch, weights = source.batch(range(6)), source.weights(range(6))
    for t in range(6):
        x, y = (batch.support[i][t].double().numpy() for i in (0, 1))
        found = np.linalg.lstsq(family.features(x), y[:, 0], rcond=None)[0]
        np.testing.assert_allclose(found, weights[t], atol=1e-4)
        x, y = (batch.query[i][t].double().numpy() for i in (0, 1))
        np.testing.assert_allclose(family.features(x) @ found, y[:, 0], atol=1e-4)


def test_quadratics_are_the_papers():
    """a x1² + b x2² + c x1 x2 + d x1 + e x2 + f, everything uniform in [-1, 1]."""
    x = np.array([[2.0, 3.0]])
    assert quadratic_features(x).tolist() == [[4.0, 9.0, 6.0, 2.0, 3.0, 1.0]]
    source = Quadratics(shots=5, queries=5).source()
    for values in (source.weights(range(5000)), source.batch(range(5000)).query.x.numpy()):
        assert -1 < values.min() < -0.99
        assert 0.99 < values.max() < 1
        assert values.mean() == pytest.approx(0, abs=0.02)
        assert values.var() == pytest.approx(1 / 3, abs=0.01)


def test_inputs_and_weights_are_standard_normal():
    source = Linear(shots=3, queries=4).source()
    batch, weights = source.batch(range(4000)), source.weights(range(4000))
    for values in (weights, batch.query.x.numpy(), batch.support.x.numpy()):
        assert values.mean() == pytest.approx(0, abs=0.03)
        assert values.var() == pytest.approx(1, abs=0.03)
    assert abs((batch.query.x[:, :, 0] * batch.query.x[:, :, 1]).mean()) < 0.03
    assert batch.query.y.var() == pytest.approx(5, rel=0.05)


def test_noise_is_on_values_alone():
    plain, noisy = (Linear(noise=noise).source().batch(range(2000)) for noise in (0.0, 0.5))
    assert torch.equal(plain.query.x, noisy.query.x)
    added = torch.cat([noisy.query.y - plain.query.y, noisy.support.y - plain.support.y], 1)
    assert added.std() == pytest.approx(0.5, rel=0.03)
    assert abs((added[:, :-1] * added[:, 1:]).mean()) < 0.01


def test_sparse_weights_have_as_many_as_asked():
    weights = Linear(size=6, sparse=2).source().weights(range(3000))
    assert ((weights != 0).sum(1) == 2).all()
    np.testing.assert_allclose((weights != 0).mean(0), 1 / 3, atol=0.04)
    with pytest.raises(SettingsError, match="sparse is 7, but inputs have 6 dimensions"):
        Linear(size=6, sparse=7)


def test_skewed_inputs_have_the_papers_spectrum():
    """Each task has axes of its own; variances along them fall as 1/i² and add up to the number of dimensions."""
    batch = Linear(size=3, spread="skewed", queries=4000, shots=0).source().batch(range(3))
    variances = [np.linalg.eigvalsh(np.cov(x.T.double().numpy()))[::-1] for x in batch.query.x]
    expected = np.array([1, 1 / 4, 1 / 9])
    np.testing.assert_allclose(variances, np.tile(expected * 3 / expected.sum(), (3, 1)), rtol=0.12)
    first = [np.linalg.eigh(np.cov(x.T.double().numpy()))[1][:, -1] for x in batch.query.x]
    assert abs(first[0] @ first[1]) < 0.99


def test_scale_multiplies_inputs():
    plain, scaled = (Linear(scale=scale).source().batch(range(3)) for scale in (1.0, 3.0))
    torch.testing.assert_close(scaled.query.x, 3 * plain.query.x)
    torch.testing.assert_close(scaled.query.y, 3 * plain.query.y)


@pytest.mark.parametrize("family", [*FAMILIES, Linear(sparse=2, noise=0.1, spread="skewed")], ids=["l", "q", "all"])
def test_numbers_not_order_make_a_task(family):
    source = family.source("val", seed=4)
    whole, some = source.batch(range(10)), source.batch([7, 2])
    check_episodes(whole, "linear")
    for one, other in zip(tree.leaves(whole), tree.leaves(some), strict=True):
        assert torch.equal(one[[7, 2]], other)


@pytest.mark.parametrize("tasks", [Linear, Quadratics])
def test_queries_stay_when_shots_change(tasks):
    few, many = (tasks(shots=shots, queries=7, noise=0.1).source().batch(range(5)) for shots in (0, 40))
    assert few.support.x.shape[1] == 0
    assert torch.equal(few.query.x, many.query.x)
    torch.testing.assert_close(few.query.y, many.query.y)


def test_splits_seeds_and_families_differ():
    sources = [
        family.source(split, seed)
        for family in (Linear(size=2), Quadratics())
        for split in ("train", "val", "test")
        for seed in (0, 1)
    ]
    assert len({s.fingerprint for s in sources}) == 12
    assert len({s.batch([0]).query.y.sum().item() for s in sources}) == 12


def test_flat_batches_mix_functions():
    batch = Quadratics().pool("train", batch=64).batch([0, 1])
    assert batch.query.x.shape == (2, 64, 2)
    x, y = (batch.query[i][0].double().numpy() for i in (0, 1))
    residual = np.linalg.lstsq(quadratic_features(x), y, rcond=None)[1]
    assert residual > 1
    assert torch.equal(batch.support.x, batch.query.x)
