"""Estimators for scikit-learn: `fit` adapts, with a trained run, a bundle, a method or a frozen encoder behind it.

They need the extra `sklearn`.
"""

from quickstudy.core.extras import extra

extra("sklearn", "sklearn")

from quickstudy.estimators.classifier import FewShotClassifier  # noqa: E402 (scikit-learn is asked for first)
from quickstudy.estimators.prior_fitted import PriorFittedClassifier  # noqa: E402
from quickstudy.estimators.prior_fitted_regressor import PriorFittedRegressor  # noqa: E402
from quickstudy.estimators.regressor import FewShotRegressor  # noqa: E402

__all__ = ["FewShotClassifier", "FewShotRegressor", "PriorFittedClassifier", "PriorFittedRegressor"]
