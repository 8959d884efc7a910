"""Estimators of small tables for scikit-learn that were trained before they saw any: prior-fitted networks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from quickstudy import registry
from quickstudy.bundle import Bundle
from quickstudy.core.episode import Examples
from quickstudy.core.learner import MetaLearner
from quickstudy.core.shapes import Shaped, Tensor
from quickstudy.errors import SettingsError
from quickstudy.estimators.tables import Columns
from quickstudy.evaluate.evaluate import place_of
from quickstudy.methods.memory.against_rest import AgainstRest

__all__ = ["PriorFitted", "PriorFittedClassifier"]

TRAINED = Path(__file__).parent / "small_tables"
"""The bundle of the classifier that comes with quickstudy."""

BATCH = 256
"""Rows that are predicted together: none has a say in another's prediction."""


class Member(NamedTuple):
    """What is known of some columns of a table."""

    columns: NDArray[np.int64]
    learner: Any


class PriorFitted(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator that reads a small table by one pass of a network; subclasses say what targets are.

    Attributes:
        columns_: How the table's columns become numbers.
        members_: What was read, of each sample.
    """

    trained: ClassVar[Path]
    """The bundle that comes with quickstudy."""
    kind: ClassVar[type[MetaLearner]]
    """What a network must be."""
    named: ClassVar[str]
    """The method that is such a network, and the tasks it is trained on, as the command line has them."""
    columns_: Columns
    members_: list[Member]

    def __init__(
        self,
        model: Any = None,
        *,
        categorical: Sequence[int] | Literal["auto"] = "auto",
        rows: int = 1024,
        columns: int = 256,
        members: int = 4,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.categorical = categorical
        self.rows = rows
        self.columns = columns
        self.members = members
        self.seed = seed

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_method"}

    # --- what targets are ---------------------------------------------------------------------------------------------

    def _targets(self, y: NDArray[Any]) -> Shaped[Tensor, "n out"]:
        """Targets as the network reads them."""
        raise NotImplementedError

    def _telling(self, x: NDArray[np.float64], y: NDArray[Any]) -> NDArray[np.float64]:
        """How much each column says of the targets."""
        raise NotImplementedError

    def _drawn(self, y: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
        """The rows of a sample: `rows` of them, or all."""
        raise NotImplementedError

    # --- reading and asking -------------------------------------------------------------------------------------------

    def _learn(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Read rows whose targets are `y`."""
        self.columns_ = Columns(x, self.categorical)
        self._method = self._opened()
        numbers = _Scaled(self.columns_.numbers(x))
        self._middle, self._spread = numbers.middle, numbers.spread
        self.members_ = [self._read(numbers.x, y, *each) for each in self._samples(numbers.x, y)]

    def _said(self, X: Any) -> list[list[Any]]:
        """What is said of rows: the predictions of each member, for successive parts of the rows."""
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=None, ensure_all_finite="allow-nan")
        if "_method" not in self.__dict__:
            self._method = self._opened()
        numbers = (self.columns_.numbers(x) - self._middle) / self._spread
        with torch.no_grad():
            return [
                [
                    self._method.predict(member.learner, part)
                    for part in torch.split(self._asked(numbers, member), BATCH)
                ]
                for member in self.members_
            ]

    def _asked(self, numbers: NDArray[np.float64], member: Member) -> Tensor:
        return self._tensor(numbers[:, member.columns])

    def _check(self) -> None:
        for name in ("rows", "columns", "members"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise SettingsError(f"{name} is {value!r}; expected a whole number, 1 or more.")

    def _samples(self, x: NDArray[Any], y: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """The rows and columns of each sample; one of everything where the table is small enough."""
        rows, columns = x.shape
        if rows <= self.rows and columns <= self.columns:
            return [(np.arange(rows), np.arange(columns))]
        rng = np.random.default_rng(self.seed)
        best = self._telling(x, y).argsort()[::-1]
        found = []
        for _ in range(self.members):
            rest = rng.permutation(best[self.columns // 2 :])
            taken = np.sort(np.concatenate([best[: self.columns // 2], rest])[: self.columns])
            found.append((self._drawn(y, rng), taken))
        return found

    def _read(self, x: NDArray[Any], y: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any]) -> Member:
        mask = torch.ones(len(rows), dtype=torch.bool)
        support = Examples(self._tensor(x[np.ix_(rows, columns)]), self._targets(y[rows]), mask)
        with torch.no_grad():
            return Member(columns, self._method.adapt(support))

    def _tensor(self, x: NDArray[Any]) -> Tensor:
        return torch.as_tensor(np.clip(x, -1e6, 1e6)).to(place_of(self._method)[1])

    def _opened(self) -> MetaLearner:
        """The trained network that was asked for."""
        if isinstance(self.model, (str, Path)) or self.model is None:
            return self._checked(_opened(str(self.trained if self.model is None else self.model)))
        return self._checked(self.model.method if isinstance(self.model, Bundle) else self.model)

    def _checked(self, method: Any) -> MetaLearner:
        if not isinstance(method, self.kind):
            name = registry.name_of(type(method)) if isinstance(method, torch.nn.Module) else type(method).__name__
            raise SettingsError(
                f"model is {name}; expected a trained {self.named.split()[0]}: its run, bundle or instance. Train one "
                f"with `quickstudy train {self.named}`, or leave model out for the one that comes with quickstudy."
            )
        return method.eval()


class PriorFittedClassifier(ClassifierMixin, PriorFitted):  # type: ignore[misc]  # scikit-learn has no types
    """Learns a small table in one pass of a network that was fitted to a prior over tables (extra `sklearn`).

    `fit` solves kernel machines in closed form, passes what they say of the training rows through a transformer, and
    keeps its keys and values (`quickstudy.methods.memory.kernelpfn`); there is nothing to tune. Tables are taken raw:
    numbers of any scale, text for names, missing values (None, NaN). The transformer was trained on random causal
    models alone (`quickstudy.tasks.prior`), of up to 224 training rows and 30 columns. It has no order of rows, columns
    or classes, so that there is nothing to average over by permuting them. Larger tables are taken too: any number of
    classes, each by a pass of its own; of more rows than `rows`, or columns than `columns`, several samples are read,
    and their probabilities averaged.

    Args:
        model: The folder of a run or bundle of `kernelpfn`, a `Bundle`, or a trained method that tells classes from
            the rest; None for the one that comes with quickstudy.
        categorical: Places of columns whose values are names even where they are numbers; "auto" for those with text.
        rows: Training rows that are read together, at most.
        columns: Columns of numbers that are read together, at most.
        members: Samples that are read of a larger table.
        seed: Of those samples.

    Attributes:
        classes_: The names of the classes, sorted.
        columns_: How the table's columns become numbers.
        members_: What was read, of each sample.

    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> PriorFittedClassifier().fit(x, x[:, 0] > 0).predict([[-0.9], [0.9]])
    array([False,  True])
    """

    trained, kind, named = TRAINED, AgainstRest, "kernelpfn --tasks prior"
    classes_: NDArray[Any]

    def fit(self, X: Any, y: ArrayLike) -> PriorFittedClassifier:
        """Read the training rows.

        Args:
            X: Rows [n, columns]: an array, a list of rows, or a data frame; numbers, text, or both.
            y: The class of each row: text or whole numbers.

        Raises:
            SettingsError: the model cannot be had, or a setting is none.
            DataError: a column that is said to hold numbers holds text.
        """
        self._check()
        x, labels = validate_data(self, X, y, dtype=None, ensure_all_finite="allow-nan")
        check_classification_targets(labels)
        self.classes_, at = np.unique(labels, return_inverse=True)
        self._learn(x, at)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most likely class of each row, by name."""
        said = self.predict_proba(X)
        found: NDArray[Any] = self.classes_[said.argmax(1)]
        return found

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class of `classes_` for each row, [n, classes].

        Raises:
            DataError: text in a column that held numbers.
        """
        each = [torch.cat([part.mean for part in parts]).double() for parts in self._said(X)]
        found: NDArray[np.float64] = (torch.stack(each).sum(0) / len(each)).numpy()
        return found

    def _targets(self, y: NDArray[Any]) -> Shaped[Tensor, "n out"]:
        return torch.nn.functional.one_hot(torch.as_tensor(y), len(self.classes_)).bool()

    def _telling(self, x: NDArray[np.float64], y: NDArray[Any]) -> NDArray[np.float64]:
        """The share of each column's variance that lies between classes."""
        between = np.zeros(x.shape[1])
        for kind in np.unique(y):
            between += (y == kind).mean() * np.square(x[y == kind].mean(0))
        return between

    def _drawn(self, y: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
        """So many rows, of each class about its share, and at least one."""
        order = rng.permutation(len(y))
        if len(y) <= self.rows:
            return np.sort(order)
        place = np.zeros(len(y))
        for kind in np.unique(y):
            own = order[y[order] == kind]
            place[own] = np.arange(len(own)) / len(own)
        return np.sort(np.lexsort((rng.random(len(y)), place))[: self.rows])


class _Scaled:
    """Columns moved and scaled, so that single precision tells their values apart; the network does not mind."""

    def __init__(self, x: NDArray[np.float64]) -> None:
        self.middle, spread = x.mean(0), x.std(0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.x = (x - self.middle) / self.spread


@functools.lru_cache(maxsize=4)
def _opened(folder: str) -> MetaLearner:
    # in double precision, for what is said of a row must not depend on which rows are asked with it
    return Bundle.open(folder).method.double()
