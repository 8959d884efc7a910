"""The regressor beside scikit-learn's own closed forms."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quickstudy import FewShotRegressor
from quickstudy.errors import SettingsError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)) * [1, 100, 0.01] + [0, 5, 2]
Y = X @ [2.0, 0.03, 100.0] + 1000 + 0.1 * RNG.normal(size=12)
ASKED = RNG.normal(size=(6, 3)) * [1, 100, 0.01] + [0, 5, 2]


def test_the_default_is_ridge_on_standardised_features_and_targets():
    """With standardised targets there is nothing for an intercept to do."""
    scaled = make_pipeline(StandardScaler(), Ridge(alpha=3.0, fit_intercept=False))  # features have length 1, not √3
    scaled.fit(X, (Y - Y.mean()) / Y.std())
    ours = FewShotRegressor().fit(X, Y).predict(ASKED)
    np.testing.assert_allclose(ours, scaled.predict(ASKED) * Y.std() + Y.mean(), rtol=1e-6)


def test_several_targets():
    both = np.c_[Y, -3 * Y]
    fitted = FewShotRegressor().fit(X, both)
    one = FewShotRegressor().fit(X, Y).predict(ASKED)
    np.testing.assert_allclose(fitted.predict(ASKED), np.c_[one, -3 * one])
    np.testing.assert_allclose(FewShotRegressor().fit(X, Y[:, None]).predict(ASKED), one[:, None])


def test_more_examples_later():
    parts = FewShotRegressor().partial_fit(X[:5], Y[:5]).partial_fit(X[5:], Y[5:])
    np.testing.assert_allclose(parts.predict(ASKED), FewShotRegressor().fit(X, Y).predict(ASKED))


def test_a_gaussian_process():
    """On a curve that no line follows."""
    x = np.linspace(-3, 3, 25)[:, None]
    curve = FewShotRegressor({"name": "dkt", "kernel": "rbf", "noise": 0.01}).fit(x, np.sin(1.5 * x[:, 0]))
    asked = np.linspace(-2, 2, 9)[:, None]
    assert np.abs(curve.predict(asked) - np.sin(1.5 * asked[:, 0])).max() < 0.2
    assert FewShotRegressor().fit(x, np.sin(1.5 * x[:, 0])).score(x, np.sin(1.5 * x[:, 0])) < 0.5


def test_constant_columns_and_targets():
    flat = np.c_[X, np.full(12, 7e8)]
    plain = FewShotRegressor().fit(X, Y).predict(ASKED)
    assert np.isfinite(FewShotRegressor().fit(flat, Y).predict(np.c_[ASKED, np.full(6, 7e8)])).all()
    np.testing.assert_allclose(FewShotRegressor().fit(X, np.full(12, 5.0)).predict(ASKED), 5.0)
    assert plain.shape == (6,)


def test_in_a_pipeline_cross_validated():
    x, y = load_diabetes(return_X_y=True)
    assert cross_val_score(make_pipeline(StandardScaler(), FewShotRegressor()), x, y, cv=3).mean() > 0.4


def test_methods_for_classes_are_refused():
    with pytest.raises(SettingsError, match=r"learns classes, not real values\. Use FewShotClassifier"):
        FewShotRegressor("protonet").fit(X, Y)
