"""What an estimator adapts, as a bundle: a method by name, one at hand, or one that was trained and saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quickstudy import registry
from quickstudy.bundle import Bundle
from quickstudy.core.learner import MetaLearner, Tags, tags_of
from quickstudy.core.predictions import Likelihood
from quickstudy.core.settings import load, make, owner_of
from quickstudy.encoders import VectorEncoder
from quickstudy.errors import SettingsError
from quickstudy.nets import Flatten

__all__ = ["CLOSED_FORM", "at_hand", "by_name", "is_named", "opened"]

CLOSED_FORM = "r2d2"
"""What stands behind an estimator where nothing is asked for: ridge regression in closed form."""


def is_named(model: Any) -> bool:
    """Whether a model is a method by name or settings: one without training."""
    if isinstance(model, str):
        return model in registry.METHODS or model in registry.VARIANTS or (":" in model and not Path(model).exists())
    return model is None or isinstance(model, Mapping) or dataclasses.is_dataclass(model)


def by_name(model: Any, item: tuple[int, ...], outputs: int, likelihood: Likelihood, seed: int) -> Bundle:
    """A method on the numbers as they are, with the weights that it starts from, in float64.

    Args:
        model: Its name, a mapping of name and settings, or its settings; None for the closed form.
        item: The shape of one input.
        outputs: Classes, or values to predict.
        likelihood: Which of the two.
        seed: Of the weights that are drawn at random.

    Raises:
        SettingsError: no such method or setting, or it does not learn what is asked of it.
    """
    chosen = _settings(model, likelihood)
    cls = owner_of(chosen)
    _check_learns(cls, tags_of(chosen), None, likelihood)
    if "likelihood" in {field.name for field in dataclasses.fields(chosen)}:
        chosen = dataclasses.replace(chosen, likelihood=likelihood)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch's: that one reseeds the GPUs too
        built = make(cls, chosen, net=Flatten(item), item=item, outputs=outputs, pool_outputs=outputs)
    method: MetaLearner = built.double()
    if next(method.parameters(), None) is None:  # a method is used in the precision of its weights
        method.register_parameter("precision", nn.Parameter(torch.zeros(0, dtype=torch.float64), requires_grad=False))
    return _of(method, item, outputs, likelihood)


def at_hand(method: MetaLearner, item: tuple[int, ...], outputs: int, likelihood: Likelihood) -> Bundle:
    """A method that somebody has trained, for inputs of this shape.

    Raises:
        SettingsError: it learns the other kind of task.
    """
    _check_learns(type(method), method.tags, getattr(method, "likelihood", None), likelihood)
    return _of(method, item, outputs, likelihood)


def opened(model: Any, likelihood: Likelihood) -> Bundle:
    """A bundle, or that of a run or bundle in a folder.

    Raises:
        SettingsError: it is none of the kind, or learns the other kind of task.
        BundleError: the folder holds neither, or one that is damaged.
        CheckpointError: the run in it cannot be read.
    """
    if isinstance(model, str) and not Path(model).exists():
        known = [*registry.METHODS, *registry.VARIANTS]
        raise SettingsError(
            f"no method named {model!r} and no folder of that name{registry.closest(model, known) or '.'} Expected the "
            f"folder of a run or of a bundle, or a method: {', '.join(known)}."
        )
    if isinstance(model, (str, Path)):
        model = Bundle.open(model)
    if not isinstance(model, Bundle):
        raise SettingsError(
            f"model is {type(model).__name__}; expected a method's name, settings or instance, a bundle, or the folder "
            "of a bundle or run."
        )
    _check_learns(type(model.method), model.method.tags, model.likelihood, likelihood)
    return model


def _of(method: MetaLearner, item: tuple[int, ...], outputs: int, likelihood: Likelihood) -> Bundle:
    return Bundle(method, VectorEncoder(item=item), name="estimator", outputs=outputs, likelihood=likelihood)


def _check_learns(cls: type[MetaLearner], tags: Tags, kind: Likelihood | None, likelihood: Likelihood) -> None:
    able = tags.classification if likelihood == "categorical" else tags.regression
    if able and kind in (None, likelihood):
        return
    if likelihood == "categorical":
        raise SettingsError(
            f"this {registry.name_of(cls)} learns real values, not classes. Use FewShotRegressor, or another model."
        )
    raise SettingsError(
        f"this {registry.name_of(cls)} learns classes, not real values. Use FewShotClassifier, or another model."
    )


def _settings(model: Any, likelihood: Likelihood) -> Any:
    if dataclasses.is_dataclass(model):
        return model
    given = dict(model) if isinstance(model, Mapping) else {"name": model or CLOSED_FORM}
    if likelihood == "gaussian" and isinstance(given.get("name"), str):
        given = registry.suited_to_values(given["name"]) | given
    chosen = load("method", given)
    if not issubclass(owner_of(chosen), MetaLearner):
        raise SettingsError(f"{given['name']!r} is no method; expected a MetaLearner.")
    return chosen
