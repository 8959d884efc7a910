"""A regressor that was trained before it saw a table, by the contract of scikit-learn and by what it should know."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from quickstudy.errors import DataError, SettingsError
from quickstudy.estimators import PriorFittedClassifier, PriorFittedRegressor
from quickstudy.methods.memory.kernelmixture import KernelMixture
from quickstudy.nets import Flatten


def small() -> KernelMixture:
    torch.manual_seed(0)
    return KernelMixture(Flatten((30,)), 1, width=8, hidden=8, heads=2, layers=2)


@parametrize_with_checks([PriorFittedRegressor()])
def test_it_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


def waves(n: int = 200, columns: int = 4, noise: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, columns))
    return x, 40 + 10 * (x[:, 0] + np.sin(2 * x[:, 1]) + noise * rng.normal(size=n))


def test_it_learns_without_training():
    """Bends, which no linear model knows: half of the variance is theirs."""
    fitted = PriorFittedRegressor().fit(*waves())
    assert fitted.score(*waves(seed=1)) > 0.85


def test_intervals_hold_what_they_say():
    fitted = PriorFittedRegressor().fit(*waves(150, noise=1.0))
    asked, truth = waves(1000, noise=1.0, seed=1)
    mean, std = fitted.predict(asked, return_std=True)
    np.testing.assert_array_equal(mean, fitted.predict(asked))
    assert 0.7 < np.square((truth - mean) / std).mean() < 1.4
    low, middle, high = fitted.predict_quantiles(asked).T
    assert ((low < middle) & (middle < high)).all()
    assert 0.82 < ((low < truth) & (truth < high)).mean() < 0.96
    assert fitted.predict_quantiles(asked, [0.5]).shape == (1000, 1)
    np.testing.assert_allclose(fitted.predict_quantiles(asked, [0.5])[:, 0], middle)


def test_the_unit_of_values_does_not_matter():
    x, y = waves(60)
    asked = waves(9, seed=1)[0]
    plain = PriorFittedRegressor().fit(x, y)
    moved = PriorFittedRegressor().fit(x, 1e6 + 1e-3 * y)
    mean, std = plain.predict(asked, return_std=True)
    again, spread = moved.predict(asked, return_std=True)
    np.testing.assert_allclose((again - 1e6) * 1e3, mean, rtol=1e-4)
    np.testing.assert_allclose(spread * 1e3, std, rtol=1e-4)


def test_order_of_rows_and_columns_does_not_matter():
    x, y = waves(60)
    asked = waves(9, seed=2)[0]
    plain = PriorFittedRegressor().fit(x, y).predict(asked)
    rng = np.random.default_rng(3)
    rows, columns = rng.permutation(len(x)), rng.permutation(4)
    turned = PriorFittedRegressor().fit(x[rows][:, columns], y[rows]).predict(asked[:, columns])
    np.testing.assert_allclose(turned, plain, rtol=1e-6)


def test_raw_tables_are_taken():
    rng = np.random.default_rng(0)
    x = np.empty((80, 2), dtype=object)
    x[:, 0] = np.where(np.arange(80) % 2 == 1, "red", "blue")
    x[:, 1] = rng.normal(size=80)
    y = 5.0 * (x[:, 0] == "red") + x[:, 1].astype(float)
    x[::9, 1] = None
    fitted = PriorFittedRegressor().fit(x[:60], y[:60])
    known = np.array([value is not None for value in x[60:, 1]])
    np.testing.assert_allclose(fitted.predict(x[60:])[known], y[60:][known], atol=0.7)
    unseen = x[61:62].copy()
    unseen[0] = ["green", "tall"]
    with pytest.raises(DataError, match="column 1 holds 'tall', but numbers"):
        fitted.predict(unseen)


def test_larger_tables_are_read_in_samples():
    x, y = waves(300, columns=12)
    fitted = PriorFittedRegressor(small(), rows=100, columns=6, members=3).fit(x, y)
    assert {len(member.columns) for member in fitted.members_} == {6}
    assert {len(member.learner.mask) for member in fitted.members_} == {100}
    assert all({0, 1} <= set(member.columns) for member in fitted.members_), "columns that say something are kept"
    mean, std = fitted.predict(x, return_std=True)
    members, means, stds = fitted.members_, [], []
    for member in members:
        fitted.members_ = [member]
        for found, said in zip((means, stds), fitted.predict(x, return_std=True), strict=True):
            found.append(said)
    np.testing.assert_allclose(mean, np.mean(means, 0))
    np.testing.assert_allclose(std**2 + mean**2, np.mean(np.square(stds) + np.square(means), 0))


def test_rows_that_are_asked_together_have_no_say_in_each_other():
    fitted = PriorFittedRegressor().fit(*waves(60))
    asked = waves(300, seed=1)[0]
    np.testing.assert_allclose(fitted.predict(asked)[:5], fitted.predict(asked[:5]), rtol=1e-9)


def test_predictions_do_not_need_the_support_again(monkeypatch):
    fitted = PriorFittedRegressor(small()).fit(*waves(60))
    monkeypatch.setattr(KernelMixture, "adapt", None)
    assert fitted.predict(waves(5)[0]).shape == (5,)


def test_pickles_say_the_same():
    x, y = waves(60)
    fitted = PriorFittedRegressor().fit(x, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(x), fitted.predict(x))
    assert "_method" not in fitted.__getstate__()


def test_what_is_no_such_model_or_quantile_is_refused():
    x, y = waves(30)
    with pytest.raises(
        SettingsError, match=r"model is kernelpfn; expected a trained kernelmixture.*tasks\.target values"
    ):
        PriorFittedRegressor(PriorFittedClassifier.trained).fit(x, y)
    with pytest.raises(SettingsError, match="model is kernelmixture; expected a trained kernelpfn"):
        PriorFittedClassifier(small()).fit(x, y > 40)
    with pytest.raises(SettingsError, match="members is 0; expected a whole number"):
        PriorFittedRegressor(members=0).fit(x, y)
    with pytest.raises(SettingsError, match=r"quantiles hold 1\.5; expected numbers above 0 and below 1"):
        PriorFittedRegressor(small()).fit(x, y).predict_quantiles(x, [0.5, 1.5])
    with pytest.raises(NotFittedError):
        clone(PriorFittedRegressor()).predict(x)
