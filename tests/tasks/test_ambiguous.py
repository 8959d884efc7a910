"""Sine-or-line tasks follow their formulas, and their support leaves both kinds open."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quickstudy.core.episode import check_episodes
from quickstudy.errors import SettingsError
from quickstudy.tasks.ambiguous import Ambiguous


def left_over(x, y, basis):
    """The largest residual of the least-squares fit."""
    columns = np.stack(basis(x), axis=1)
    return np.abs(columns @ np.linalg.lstsq(columns, y, rcond=None)[0] - y).max()


def line(x):
    return [x, np.ones_like(x)]


def sine(x):
    return [np.sin(x), np.cos(x)]


def test_every_task_is_a_sine_or_a_line_and_says_which():
    source = Ambiguous(noise=0.0, queries=30).source("train")
    batch, kinds = source.batch(range(60)), source.functions(range(60)).line
    check_episodes(batch, "ambiguous")
    both = [torch.cat(pair, 1)[..., 0].double().numpy() for pair in zip(*(part[:2] for part in batch), strict=True)]
    for x, y, is_line in zip(*both, kinds, strict=True):
        assert left_over(x, y, line if is_line else sine) < 1e-5
    assert 15 < kinds.sum() < 45


def test_numbers_follow_the_papers_ranges():
    found = Ambiguous().source("test").functions(range(20_000))
    for values, low, high in (
        (found.amplitude, 0.1, 5),
        (found.phase, 0, np.pi),
        (found.slope, -3, 3),
        (found.intercept, -3, 3),
    ):
        assert values.min() >= low
        assert values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.05)


def test_support_lies_in_a_window_and_queries_everywhere():
    batch = Ambiguous(window=1.5, shots=40).source("val").batch(range(400))
    x = batch.support.x[..., 0]
    assert (x.amax(1) - x.amin(1)).max() <= 1.5
    assert x.amin() < -4.5
    assert x.amax() > 4.5
    assert batch.query.x.std().item() == pytest.approx(10 / 12**0.5, abs=0.05)


def test_a_narrow_support_is_explained_by_both():
    """Of half a unit's five points no fit of the other kind leaves more than the noise, on average."""
    batch = Ambiguous(window=0.5).source("test").batch(range(200))
    other = [
        left_over(x, y, sine if is_line else line)
        for x, y, is_line in zip(
            batch.support.x[..., 0].double().numpy(),
            batch.support.y[..., 0].double().numpy(),
            Ambiguous().source("test").functions(range(200)).line,
            strict=True,
        )
    ]
    assert np.median(other) < 0.6  # two deviations of the noise


def test_the_noise_is_normal_with_its_deviation():
    quiet, loud = (Ambiguous(noise=noise).source("train").batch(range(2000)) for noise in (0.0, 0.7))
    each = (loud.query.y - quiet.query.y).flatten()
    assert torch.equal(loud.query.x, quiet.query.x)
    assert each.std().item() == pytest.approx(0.7, rel=0.02)
    assert each.abs().mean().item() == pytest.approx(0.7 * (2 / np.pi) ** 0.5, rel=0.02)


def test_numbers_not_order_make_a_task_and_splits_differ():
    source = Ambiguous().source("val", seed=4)
    whole, some = source.batch(range(10)), source.batch([7, 2])
    assert torch.equal(some.query.y, whole.query.y[[7, 2]])
    assert torch.equal(some.support.x, whole.support.x[[7, 2]])
    others = [Ambiguous().source(split, seed) for split in ("train", "val", "test") for seed in (0, 1)]
    assert len({other.batch([0]).query.y.sum().item() for other in others}) == 6


def test_without_lines_and_window_they_are_sines():
    batch = Ambiguous(lines=0.0, noise=0.0, window=15, interval=(-5, 10)).source("test").batch(range(20))
    for x, y in zip(batch.query.x[..., 0].double().numpy(), batch.query.y[..., 0].double().numpy(), strict=True):
        assert left_over(x, y, sine) < 1e-5
    assert batch.support.x.max() > 8


def test_flat_batches_mix_functions():
    batch = Ambiguous(noise=0.0).pool("train", batch=64).batch([0, 1])
    assert batch.query.x.shape == (2, 64, 1)
    x, y = (part[0, :, 0].double().numpy() for part in batch.query[:2])
    assert min(left_over(x, y, kind) for kind in (sine, line)) > 1


def test_a_window_wider_than_the_interval_is_refused():
    with pytest.raises(SettingsError, match="window=20 does not fit in the interval from -5 to 5"):
        Ambiguous(window=20)
