"""What both estimators share: reading X, scaling, adapting, and what is kept of a fit."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from quickstudy.bundle import Bundle, Learner
from quickstudy.core.learner import MetaLearner
from quickstudy.core.predictions import Likelihood
from quickstudy.core.settings import load
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.encoders import Encoder
from quickstudy.encoders.module import ModuleEncoder
from quickstudy.errors import DataError, SettingsError
from quickstudy.estimators.inputs import is_raw, items, listed
from quickstudy.estimators.models import at_hand, by_name, is_named, opened
from quickstudy.estimators.scale import Scale

__all__ = ["FewShot"]

BATCH = 512
"""Queries that are predicted together: none has a say in another's prediction."""

UNASKED = "no_validation"
"""What scikit-learn calls labels that there are none of."""

REBUILT = ("_bundle", "_opened")
"""What is not pickled, for it can be had again from the parameters."""


class FewShot(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator whose `fit` adapts; `FewShotClassifier` and `FewShotRegressor` say what labels are.

    Attributes:
        support_: All examples so far, encoded, [n, *item].
        scale_: Of standardised features; None where they are taken as they are.
        learner_: What the method made of the support.
    """

    likelihood: ClassVar[Likelihood]
    support_: Shaped[Tensor, "n *item"]
    scale_: Scale | None
    learner_: Learner

    def __init__(
        self, model: Any = None, *, encoder: Any = None, standardise: bool | Literal["auto"] = "auto", seed: int = 0
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.standardise = standardise
        self.seed = seed

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = self.encoder == "text" or getattr(self.encoder, "kind", None) == "text"
        tags.input_tags.three_d_array = not is_named(self.model)
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name not in REBUILT}

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(
        self, X: Any, y: Any = UNASKED, *, reset: bool = False, **checks: bool
    ) -> tuple[Shaped[Tensor, "n *item"], Any]:
        """X as the method is fed it, and y checked, by scikit-learn's own `checks`."""
        labelled = not (isinstance(y, str) and y == UNASKED)
        if is_raw(X):
            raw = listed(X)
            checked = validate_data(self, y=y, reset=reset, **checks) if labelled else None
            if checked is not None and len(checked) != len(raw):
                raise DataError(f"X has {len(raw)} inputs and y has {len(checked)} labels; expected one for each.")
            return self._encoder_of(raw[0]).encode(raw), checked
        found = validate_data(self, X, y, reset=reset, allow_nd=True, **checks)
        numbers, checked = found if labelled else (found, None)
        return self._numbers(numbers), checked

    def _numbers(self, numbers: NDArray[Any]) -> Shaped[Tensor, "n *item"]:
        encoder = self._encoder(numbers.shape[1:])
        if encoder is None:
            return items(numbers, None)
        return encoder.encode([*numbers]) if encoder.kind == "vector" else items(numbers, encoder.item)

    def _encoder_of(self, first: Any) -> Encoder:
        found = self._encoder(None)
        if found is None:
            raise SettingsError(
                f"X holds {type(first).__name__}, and there is no encoder that makes numbers of it. Give one: "
                'encoder="text" for text, or a model that was trained on images.'
            )
        return found

    def _encoder(self, takes: tuple[int, ...] | None) -> Encoder | None:
        """The encoder that was asked for, or else the model's own; None for numbers as they are."""
        if self.encoder is None:
            trained = self._trained()
            return None if trained is None else trained.encoder
        if isinstance(self.encoder, Encoder):
            return self.encoder
        if not isinstance(self.encoder, nn.Module):
            found: Encoder = load("encoder", self.encoder)
            return found
        if takes is None:
            raise SettingsError(
                f"{type(self.encoder).__name__} reads tensors, not what X holds. Say how pictures become tensors: "
                'encoder=ModuleEncoder(net, takes=(3, 32, 32), kind="image").'
            )
        return ModuleEncoder(self.encoder, takes)

    # --- adapting and predicting --------------------------------------------------------------------------------------

    def _forget(self) -> None:
        for name in (*REBUILT, "support_"):
            self.__dict__.pop(name, None)

    def _adapt(self, x: Shaped[Tensor, "n *item"], y: Tensor, ways: int | None) -> None:
        """Make the learner of a support. What was there before stays if that fails."""
        bundle = self._made(x, int(y.shape[1]) if ways is None else ways)
        plain = is_named(self.model) and self.encoder is None
        wanted = plain if self.standardise == "auto" else self.standardise
        scale = Scale.of(x.double(), x[0].numel() ** -0.5) if wanted else None
        learner = bundle.adapt(x if scale is None else scale.to(x), y, ways)
        self._bundle, self.support_, self.scale_, self.learner_ = bundle, x, scale, learner

    def _said(self, X: Any) -> Float[Tensor, "n out"]:
        """What is predicted: the probabilities of the classes that have examples, or values."""
        check_is_fitted(self)
        x, _ = self._read(X)
        if "_bundle" not in self.__dict__:
            self._bundle = self._made(self.support_, self._outputs())
        parts = []
        for start in range(0, len(x), BATCH):
            part = x[start : start + BATCH]
            scaled = part if self.scale_ is None else self.scale_.to(part)
            parts.append(self._bundle.predict(self.learner_, scaled).mean.double().cpu())
        return torch.cat(parts)

    def _outputs(self) -> int:
        """The number of classes that have examples, or of values to predict."""
        raise NotImplementedError

    def _made(self, x: Shaped[Tensor, "n *item"], outputs: int) -> Bundle:
        item = tuple(x.shape[1:])
        if is_named(self.model):
            return by_name(self.model, item, outputs, self.likelihood, self.seed)
        if isinstance(self.model, MetaLearner):
            return at_hand(self.model, item, outputs, self.likelihood)
        trained = self._trained()
        assert trained is not None
        return trained

    def _trained(self) -> Bundle | None:
        """The bundle that was asked for, opened once a fit; None where the model is a method."""
        if is_named(self.model) or isinstance(self.model, MetaLearner):
            return None
        if "_opened" not in self.__dict__:
            self._opened = opened(self.model, self.likelihood)
        return self._opened
