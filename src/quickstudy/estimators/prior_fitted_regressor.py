"""A regressor of small tables for scikit-learn that was trained before it saw any: a prior-fitted network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from quickstudy.core.shapes import Shaped, Tensor
from quickstudy.errors import SettingsError
from quickstudy.estimators.prior_fitted import PriorFitted
from quickstudy.evaluate.evaluate import place_of
from quickstudy.methods.memory.kernelmixture import KernelMixture
from quickstudy.methods.memory.normals import Normals

__all__ = ["PriorFittedRegressor"]


class PriorFittedRegressor(RegressorMixin, PriorFitted):  # type: ignore[misc]  # scikit-learn has no types
    """Learns the values of a small table in one pass of a network that was fitted to a prior over tables.

    `PriorFittedClassifier` for real values (extra `sklearn`). `fit` solves Gaussian processes in closed form and
    passes what they say of the training rows, each left out in turn, through a transformer, which says of every row how
    far each is to be trusted (`quickstudy.methods.memory.kernelmixture`); there is nothing to tune. What is predicted
    is a whole distribution: its mean, its standard deviation, any quantile. Values are standardised by the training
    rows and mapped back. Tables are taken as by the classifier: raw, and larger ones in samples, whose distributions
    are averaged.

    Args:
        model: The folder of a run or bundle of `kernelmixture`, a `Bundle`, or a trained one; None for the one that
            comes with quickstudy.
        categorical: Places of columns whose values are names even where they are numbers; "auto" for those with text.
        rows: Training rows that are read together, at most.
        columns: Columns of numbers that are read together, at most.
        members: Samples that are read of a larger table.
        seed: Of those samples.

    Attributes:
        columns_: How the table's columns become numbers.
        members_: What was read, of each sample.

    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> PriorFittedRegressor().fit(x, 3 * x[:, 0]).predict([[-0.5], [0.5]]).round(1)
    array([-1.5,  1.5])
    """

    trained = Path(__file__).parent / "small_tables_values"
    kind, named = KernelMixture, "kernelmixture --tasks prior --tasks.target values"

    def fit(self, X: Any, y: ArrayLike) -> PriorFittedRegressor:
        """Read the training rows.

        Args:
            X: Rows [n, columns]: an array, a list of rows, or a data frame; numbers, text, or both.
            y: The value of each row, [n].

        Raises:
            SettingsError: the model cannot be had, or a setting is none.
            DataError: a column that is said to hold numbers holds text.
        """
        self._check()
        x, values = validate_data(self, X, y, dtype=None, ensure_all_finite="allow-nan", y_numeric=True)
        self._learn(x, np.asarray(values, dtype=np.float64))
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The expected value of each row, [n]; and its standard deviation, [n], if asked for.

        Raises:
            DataError: text in a column that held numbers.
        """
        said = self._distribution(X)
        mean = said.mean[:, 0].numpy()
        return (mean, said.std[:, 0].numpy()) if return_std else mean

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> NDArray[np.float64]:
        """The values below which that of each row lies with these probabilities, [n, quantiles].

        Raises:
            SettingsError: a quantile is not between 0 and 1.
            DataError: text in a column that held numbers.
        """
        if wrong := [each for each in quantiles if not 0 < each < 1]:
            raise SettingsError(f"quantiles hold {wrong[0]!r}; expected numbers above 0 and below 1.")
        said = self._distribution(X)
        found: NDArray[np.float64] = np.stack([said.quantile(each)[:, 0].numpy() for each in quantiles], 1)
        return found

    def _distribution(self, X: Any) -> Normals:
        """What is said of rows: all members' distributions, each as likely as the others."""
        each = []
        for parts in self._said(X):
            logits, means, stds = (torch.cat(field).double() for field in zip(*parts, strict=True))
            each.append(Normals(logits.log_softmax(-1), means, stds))
        return Normals(*(torch.cat(field, -1) for field in zip(*each, strict=True)))

    def _targets(self, y: NDArray[Any]) -> Shaped[Tensor, "n out"]:
        return torch.as_tensor(y).to(place_of(self._method)[1])[:, None]

    def _telling(self, x: NDArray[np.float64], y: NDArray[Any]) -> NDArray[np.float64]:
        """How far each column goes with the values."""
        found: NDArray[np.float64] = np.abs((y - y.mean()) @ x)
        return found

    def _drawn(self, y: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
        return np.sort(rng.permutation(len(y))[: self.rows])
