"""A few-shot classifier for scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from quickstudy.core.predictions import Likelihood
from quickstudy.errors import DataError
from quickstudy.estimators.base import FewShot

__all__ = ["FewShotClassifier"]


class FewShotClassifier(ClassifierMixin, FewShot):  # type: ignore[misc]  # scikit-learn has no types
    """Learns classes from a few examples of each: `fit` adapts a model, and nothing is trained (extra `sklearn`).

    `FewShotClassifier()` needs no trained run: it is ridge regression to one-hot classes in closed form
    (`quickstudy.methods.metric.r2d2`) on features standardised by the examples given. Classes may have any names and
    uneven numbers of examples. All examples are kept, so that `partial_fit` is the same as one `fit` with all of them.

    Args:
        model: The folder of a run or bundle, a `Bundle`, a trained method, or a method by name or settings, which is
            then taken untrained on the features as they are: "protonet", {"name": "r2d2", "penalty": 0.1}. None is the
            closed form. Methods that depend on training, such as relation or the ones with a memory, are of use only
            trained.
        encoder: Makes features of raw inputs before the model sees them: an `Encoder`, a name or settings of one
            ("text", {"name": "vision", "model": "..."}), or any `torch.nn.Module`. None is the model's own encoder, or
            numbers as they are. Numbers given in place of text or pictures are taken as encoded already.
        standardise: Whether features are shifted and scaled by the examples' means and deviations. "auto" does so for
            plain vectors, not for what an encoder makes or a trained model expects.
        seed: Of weights that an untrained method draws at random.

    Attributes:
        classes_: The names of the classes, sorted.
        support_labels_: The class of each example so far.

    >>> from quickstudy import FewShotClassifier
    >>> guess = FewShotClassifier().fit([[0.0, 1.0], [1.0, 0.0]], ["up", "right"])
    >>> guess.partial_fit([[0.0, -1.0]], ["down"]).predict([[0.1, -2.0], [0.1, 0.9]])
    array(['down', 'up'], dtype='<U5')
    """

    likelihood: Likelihood = "categorical"  # type: ignore[misc]
    classes_: NDArray[Any]
    support_labels_: NDArray[Any]

    def fit(self, X: Any, y: ArrayLike) -> FewShotClassifier:
        """Adapt to examples.

        Args:
            X: Vectors [n, d], arrays of the shape that the model reads, or raw inputs: text, paths, pictures.
            y: The class of each: text or whole numbers.

        Raises:
            SettingsError: the model cannot be had, or takes fewer classes.
            DataError: inputs cannot be read, or are not what the model reads.
        """
        self._forget()
        return self._learn(X, y, None)

    def partial_fit(self, X: Any, y: ArrayLike, classes: ArrayLike | None = None) -> FewShotClassifier:
        """Adapt to these examples and all before them; they may be of new classes.

        Args:
            X: As in `fit`.
            y: As in `fit`.
            classes: Names of classes that may come later; optional. They are never predicted before they have examples.

        Raises:
            SettingsError: as `fit`; what was learned before stays.
            DataError: as `fit`.
        """
        return self._learn(X, y, classes)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most likely class of each input, by name."""
        best = self.predict_proba(X).argmax(1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class of `classes_` for each input, [n, classes]."""
        said = self._said(X).numpy()
        found = np.zeros((len(said), len(self.classes_)))
        found[:, np.searchsorted(self.classes_, np.unique(self.support_labels_))] = said
        return found

    def _learn(self, X: Any, y: ArrayLike, classes: ArrayLike | None) -> FewShotClassifier:
        first = "support_" not in self.__dict__
        x, labels = self._read(X, y, reset=first)
        check_classification_targets(labels)
        known = np.unique(labels) if classes is None else _together(np.unique(labels), np.unique(np.asarray(classes)))
        if not first:
            x = torch.cat([self.support_, x])
            known = _together(self.classes_, known)
            labels = np.concatenate([self.support_labels_, labels])
        present, at = np.unique(labels, return_inverse=True)
        self._adapt(x, torch.as_tensor(at), len(present))
        self.classes_, self.support_labels_ = known, labels
        return self

    def _outputs(self) -> int:
        return len(np.unique(self.support_labels_))


def _together(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """All class names of both, sorted.

    Raises:
        DataError: one has text, the other numbers.
    """
    if (a.dtype.kind in "OUS") != (b.dtype.kind in "OUS"):
        raise DataError(
            f"the names of classes were like {a.tolist()[0]!r} and are now like {b.tolist()[0]!r}; expected one kind. "
            "Name them all by text, or all by numbers."
        )
    return np.union1d(a, b)
