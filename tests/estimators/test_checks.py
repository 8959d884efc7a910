"""Scikit-learn's own checks of what an estimator must keep to."""

from typing import Any

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

from sklearn.utils.estimator_checks import parametrize_with_checks

from quickstudy import FewShotClassifier, FewShotRegressor

ESTIMATORS = [
    FewShotClassifier(),
    FewShotClassifier("protonet"),
    FewShotRegressor(),
    FewShotRegressor("dkt"),
]


def excused(estimator: Any) -> dict[str, str]:
    """Checks that an estimator cannot pass, and why."""
    return {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=excused)
def test_scikit_learn(estimator, check):
    check(estimator)
