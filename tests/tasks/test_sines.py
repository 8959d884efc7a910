"""Sine tasks follow their formula and their distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quickstudy.core.episode import check_episodes
from quickstudy.errors import SettingsError
from quickstudy.tasks.sines import Sines


def test_every_task_is_one_wave():
    batch = Sines(shots=20, queries=30).source("train").batch(range(40))
    check_episodes(batch, "sines")
    for support, query, sx, qx in zip(batch.support.y, batch.query.y, batch.support.x, batch.query.x, strict=True):
        x, y = torch.cat([sx, qx]).double(), torch.cat([support, query]).double()
        # A sin(x - p) is linear in (sin x, cos x): the fit is exact, and its coefficients say A and p
        basis = torch.cat([x.sin(), x.cos()], 1)
        a, b = torch.linalg.lstsq(basis, y).solution[:, 0]
        assert torch.allclose(basis @ torch.stack([a, b])[:, None], y, atol=1e-5)
        assert 0.1 <= torch.hypot(a, b) <= 5
        assert 0 <= torch.atan2(-b, a) <= np.pi + 1e-5


def test_the_distribution_is_the_papers():
    batch = Sines(shots=1, queries=10).source("test").batch(range(20_000))
    x, y = batch.query.x.numpy(), batch.query.y.numpy()
    assert abs(x.mean()) < 0.03
    assert abs(x.std() - 10 / np.sqrt(12)) < 0.02
    assert x.min() >= -5
    assert x.max() <= 5
    # E[A²] = ∫ a² da / 4.9 over [0.1, 5]; E[sin²(x - p)] = ½ - ½ E[cos 2x] E[cos 2p] + ... = ½, as E[e^{2ip}] = 0
    assert np.square(y).mean() == pytest.approx((5**3 - 0.1**3) / (3 * 4.9) / 2, rel=0.02)


def test_numbers_not_order_make_a_task():
    source = Sines().source("val", seed=4)
    whole, some = source.batch(range(10)), source.batch([7, 2])
    assert torch.equal(some.query.y, whole.query.y[[7, 2]])
    assert torch.equal(some.support.x, whole.support.x[[7, 2]])


def test_splits_and_seeds_differ():
    sources = [Sines().source(split, seed) for split in ("train", "val", "test") for seed in (0, 1)]
    assert len({s.fingerprint for s in sources}) == 6
    assert len({s.batch([0]).query.x.sum().item() for s in sources}) == 6
    assert sources[0].classes([0]) is None
    assert sources[0].class_names == []


def test_flat_batches_mix_waves():
    batch = Sines().pool("train", batch=64).batch([0, 1])
    assert batch.query.x.shape == (2, 64, 1)
    x, y = batch.query.x[0].double(), batch.query.y[0].double()
    basis = torch.cat([x.sin(), x.cos()], 1)
    rest = basis @ torch.linalg.lstsq(basis, y).solution - y
    assert rest.abs().max() > 0.5  # no one wave goes through them all
    assert y.abs().max() <= 5


def test_sizes_are_checked():
    with pytest.raises(SettingsError, match="shots: input should be greater than or equal to 1"):
        Sines(shots=0)
