"""A few-shot regressor for scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin

from quickstudy.core.predictions import Likelihood
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.estimators.base import FewShot
from quickstudy.estimators.models import is_named
from quickstudy.estimators.scale import Scale

__all__ = ["FewShotRegressor"]


class FewShotRegressor(RegressorMixin, FewShot):  # type: ignore[misc]  # scikit-learn has no types
    """Learns real values from a few examples: `fit` adapts a model, and nothing is trained (extra `sklearn`).

    `FewShotRegressor()` needs no trained run: it is ridge regression in closed form (`quickstudy.methods.metric.r2d2`)
    on features and targets standardised by the examples given. `FewShotRegressor("dkt")` is a Gaussian process.

    Args:
        model: The folder of a run or bundle, a `Bundle`, a trained method, or a method by name or settings, which is
            then taken untrained on the features as they are, and targets are standardised. None is the closed form.
        encoder: Makes features of raw inputs, as in `FewShotClassifier`.
        standardise: Whether features are standardised by the examples; "auto" does so for plain vectors.
        seed: Of weights that an untrained method draws at random.

    Attributes:
        support_targets_: The targets of each example so far, [n, m].
        target_scale_: Of standardised targets; None where they are taken as they are.

    >>> from quickstudy import FewShotRegressor
    >>> line = FewShotRegressor({"name": "r2d2", "penalty": 1e-6}).fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    >>> line.predict([[3.0]]).round(3)
    array([7.])
    """

    likelihood: Likelihood = "gaussian"  # type: ignore[misc]
    support_targets_: Float[Tensor, "n m"]
    target_scale_: Scale | None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: ArrayLike) -> FewShotRegressor:
        """Adapt to examples.

        Args:
            X: Vectors [n, d], arrays of the shape that the model reads, or raw inputs: text, paths, pictures.
            y: The values of each, [n] or [n, m].

        Raises:
            SettingsError: the model cannot be had, or says another number of values.
            DataError: inputs cannot be read, or are not what the model reads.
        """
        self._forget()
        return self._learn(X, y)

    def partial_fit(self, X: Any, y: ArrayLike) -> FewShotRegressor:
        """Adapt to these examples and all before them.

        Raises:
            SettingsError: as `fit`; what was learned before stays.
            DataError: as `fit`.
        """
        return self._learn(X, y)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The expected values of each input: [n], or [n, m] where the targets were."""
        said = self._said(X)
        if self.target_scale_ is not None:
            said = self.target_scale_.back(said)
        values: NDArray[np.float64] = said.numpy()
        return values[:, 0] if self._flat else values

    def _learn(self, X: Any, y: ArrayLike) -> FewShotRegressor:
        first = "support_" not in self.__dict__
        x, values = self._read(X, y, reset=first, multi_output=True, y_numeric=True)
        flat = values.ndim == 1
        targets: Shaped[Tensor, "n m"] = torch.tensor(values, dtype=torch.float64)
        if flat:
            targets = targets[:, None]
        if not first:
            x = torch.cat([self.support_, x])
            targets = torch.cat([self.support_targets_, targets])
        scale = Scale.of(targets) if is_named(self.model) else None
        self._adapt(x, targets if scale is None else scale.to(targets), None)
        self.support_targets_, self.target_scale_, self._flat = targets, scale, flat
        return self

    def _outputs(self) -> int:
        return self.support_targets_.shape[1]
