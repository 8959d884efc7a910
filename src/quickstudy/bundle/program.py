"""Bundles as programs without Python: what a learner says, or adapting and predicting at once, as plain tensor code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from quickstudy.bundle import many
from quickstudy.bundle.bundle import Bundle
from quickstudy.bundle.calibration import nearest
from quickstudy.bundle.learner import Learner
from quickstudy.core import chance
from quickstudy.core.episode import Examples
from quickstudy.core.predictions import Gaussian, Prediction, at_temperature
from quickstudy.core.settings import dump
from quickstudy.core.shapes import Tensor
from quickstudy.errors import SettingsError

__all__ = ["Program", "adapting", "specialised"]

UNUSED = -1
"""The label of a row of the support that holds no example."""


class Program(NamedTuple):
    """A function of tensors, with all that is needed to write it down and to check what was written."""

    function: Callable[..., tuple[Tensor, ...]]
    """In Python, as the bundle computes it."""
    traced: nn.Module
    """The same as one graph of tensor operations, without automatic differentiation left in it."""
    inputs: dict[str, Tensor]
    """Examples of its inputs."""
    outputs: list[str]
    """The names of what it returns."""
    notes: dict[str, Any]
    """What its users have to know: shapes, classes, how raw inputs are encoded, where it comes from."""


def specialised(bundle: Bundle, learner: Learner, classes: list[str] | None = None, batch: int = 1) -> Program:
    """What a learner says of `batch` inputs: the program is of this one task, with all that was learned inside.

    Its input is `inputs` [batch, *item]. It returns `probabilities` [batch, ways] and, where it is calibrated,
    `margin` [batch], below 0 for inputs of no class; or for real values `mean` and `deviation`.

    Args:
        bundle: Which made the learner.
        learner: Of one task.
        classes: The names of its classes, to be written down.
        batch: How many inputs it takes at once.
    """

    def answer(x: Tensor) -> tuple[Tensor, ...]:
        return _told(bundle.predict(learner, x), lambda said: bundle.margins(learner, said))

    notes = _notes(bundle, "specialised learner") | {"classes": classes, "ways": learner.ways}
    return _program(answer, {"inputs": _examples(bundle, batch, 0)}, notes)


def adapting(bundle: Bundle, ways: int, shots: int, queries: int = 1) -> Program:
    """Adapting to a support and predicting queries, in one program for any task of up to these sizes.

    Its inputs are `support` [ways * shots, *item], `labels` [ways * shots] (numbers of classes, -1 for a row that is
    not used; or real values [ways * shots, outputs], NaN for such a row) and `queries` [queries, *item]. Methods that
    read in order are given the first example of every class, then the second. It returns `probabilities`
    [queries, ways], 0 for a class without an example, or `mean` and `deviation`.

    Args:
        bundle: Whose method it is.
        ways: Most classes; 1 for real values, where `shots` are then all examples.
        shots: Most examples of each.
        queries: How many inputs are answered at once.

    Raises:
        SettingsError: more classes than the bundle takes.
    """
    if bundle.ways is not None and ways > bundle.ways:
        raise SettingsError(
            f"got ways={ways}; {bundle.name} was trained for {bundle.ways} classes and takes no more. Lower --ways."
        )
    classes = bundle.likelihood == "categorical"
    rows = ways * shots
    labels = (
        torch.arange(ways).repeat(shots) if classes else torch.linspace(-1, 1, rows)[:, None].repeat(1, bundle.outputs)
    )
    inputs = {"support": _examples(bundle, rows, 0), "labels": labels, "queries": _examples(bundle, queries, 1)}
    notes = _notes(bundle, "adapt and predict") | {"ways": ways if classes else None, "rows": rows}
    found = nearest(bundle.calibrations, ways, shots)
    temperature = 1.0 if found is None else found.temperature
    return _program(_adapt_and_answer(bundle, ways, temperature), inputs, notes)


def _adapt_and_answer(bundle: Bundle, ways: int, temperature: float) -> Callable[..., tuple[Tensor, ...]]:
    method, slots = bundle.method, bundle.ways or ways
    noise = [chance.noise(chance.key("adapt"), [0], method.noise_size)[0]] if method.noise_size else []

    def of_classes(support: Tensor, labels: Tensor, queries: Tensor) -> tuple[Tensor, ...]:
        y = labels[:, None] == torch.arange(slots)
        state = method.adapt(Examples(support, y, labels > UNUSED), *noise)
        said = many.among(method.predict(state, queries), y.any(0))
        return (at_temperature(said, temperature).mean[:, :ways],)

    def of_values(support: Tensor, labels: Tensor, queries: Tensor) -> tuple[Tensor, ...]:
        mask = ~labels.isnan().any(-1)
        y = torch.where(mask[:, None], labels, 0.0)
        state = method.adapt(Examples(support, y, mask), *noise)
        return _told(method.predict(state, queries), lambda said: None)

    return of_classes if bundle.likelihood == "categorical" else of_values


def _told(said: Prediction, margins: Callable[[Prediction], Tensor | None]) -> tuple[Tensor, ...]:
    if isinstance(said, Gaussian):
        return said.mean, said.std
    margin = margins(said) if said.metric == "accuracy" else None
    return (said.mean,) if margin is None else (said.mean, margin)


def _program(function: Callable[..., tuple[Tensor, ...]], inputs: dict[str, Tensor], notes: dict[str, Any]) -> Program:
    """The program of a function, traced with these inputs.

    `make_fx` runs torch.func's transforms while it traces, so that plain operations are left; exporting an inner loop
    of `torch.func.grad` as it is gives a program that does not compute, without an error.
    """
    with torch.no_grad():
        said = function(*inputs.values())
        traced = make_fx(function)(*inputs.values())
    names = {"accuracy": ["probabilities", "margin"], "mse": ["mean", "deviation"]}
    kind = "accuracy" if notes["likelihood"] == "categorical" else "mse"
    notes = notes | {"inputs": {name: list(value.shape) for name, value in inputs.items()}}
    return Program(function, traced, inputs, names[kind][: len(said)], notes)


def _examples(bundle: Bundle, count: int, stream: int) -> Tensor:
    size = 1
    for each in bundle.item:
        size *= each
    drawn = chance.uniforms(chance.key("export", stream), range(count), size)
    return torch.from_numpy(drawn).float().reshape(count, *bundle.item)


def _notes(bundle: Bundle, what: str) -> dict[str, Any]:
    return {
        "program": what,
        "name": bundle.name,
        "version": bundle.version,
        "licence": bundle.licence,
        "likelihood": bundle.likelihood,
        "item": list(bundle.item),
        "encoder": dump(bundle.encoder),
    }
