"""What is computed for requests, as work that can be taken together with that of others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from quickstudy.bundle import Bundle, Learner
from quickstudy.core.shapes import Tensor
from quickstudy.encoders import ImageEncoder, VectorEncoder
from quickstudy.serve.batching import Work
from quickstudy.serve.cache import Live
from quickstudy.serve.refusals import invalid

__all__ = ["Answers", "adapting", "encoding", "is_light", "predicting"]


class Answers(NamedTuple):
    """What a learner says of some inputs, as plain values."""

    probabilities: list[list[float]]
    """Of each class, for each input."""
    known: list[bool | None]
    """Whether each input seems to belong to one of the classes."""


def is_light(bundle: Bundle) -> bool:
    """Whether its encoder is no net, so that any thread may run it."""
    return isinstance(bundle.encoder, (ImageEncoder, VectorEncoder))


def encoding(bundle: Bundle, contents: Sequence[Any]) -> Work:
    """The items that an encoder with a net of its own makes of inputs."""

    def call(many: list[Sequence[Any]]) -> list[Tensor]:
        x = bundle.encoder.encode([each for one in many for each in one])
        ends = itertools.accumulate(len(one) for one in many)
        return [x[end - len(one) : end] for one, end in zip(many, ends, strict=True)]

    return Work(("encode", bundle.name, bundle.version), call, contents, len(contents))


def adapting(bundle: Bundle, x: Tensor, labels: Sequence[int], ways: int) -> Work:
    """The learner of a support."""
    return Work(
        ("adapt", bundle.name, bundle.version, ways, _bucket(len(x))), bundle.adapt_many, (x, labels, ways), len(x)
    )


def predicting(live: Live, x: Tensor) -> Work:
    """What a learner says of inputs."""
    bundle = live.bundle

    def call(many: list[tuple[Learner, Tensor]]) -> list[Answers | Exception]:
        said = bundle.predict_many(many)
        return [_plain(bundle, one, each) for (one, _), each in zip(many, said, strict=True)]

    key = "predict", bundle.name, bundle.version, _bucket(len(x)), live.shapes
    return Work(key, call, (live.learner, x), len(x))


def _plain(bundle: Bundle, learner: Learner, said: Any) -> Answers | Exception:
    p = said.mean
    if not torch.isfinite(p).all():
        return invalid(
            "the learner comes to no finite probabilities, for the numbers in its examples or in this input are too "
            "large. Send numbers of the size that the model was trained on.",
            "not_finite",
        )
    margins = bundle.margins(learner, said)
    known: list[bool | None] = [None] * len(p) if margins is None else (margins >= 0).tolist()
    return Answers(p.tolist(), known)


def _bucket(count: int) -> int:
    """Sizes that go together: the next power of two."""
    return 1 << max(0, count - 1).bit_length()
