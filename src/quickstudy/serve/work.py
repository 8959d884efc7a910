"""What is computed for requests, as work that can be taken together with that of others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from quickstudy.bundle import Bundle, Learner
from quickstudy.core.predictions import Categorical, Prediction
from quickstudy.core.shapes import Tensor
from quickstudy.encoders import ImageEncoder, VectorEncoder
from quickstudy.evaluate.novelty import plain_familiarities
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
        learners, said = [learner for learner, _ in many], bundle.predict_many(many)
        of_classes = [each for each in said if isinstance(each, Categorical)]
        if len(of_classes) == len(said) and len({each.logits.shape[1] for each in of_classes}) == 1:
            return _plain(learners, of_classes)
        return [_plain_one(bundle, learner, each) for learner, each in zip(learners, said, strict=True)]

    key = "predict", bundle.name, bundle.version, _bucket(len(x)), live.shapes
    return Work(key, call, (live.learner, x), len(x))


def _plain(learners: Sequence[Learner], said: Sequence[Categorical]) -> list[Answers | Exception]:
    """What is said of equally many classes as plain values, looked at as one: the tensors of single requests are so
    small that looking at each takes longer than making them."""
    whole = Categorical(torch.cat([each.logits for each in said]))
    p = whole.mean
    rows, finite = p.tolist(), torch.isfinite(p).all(-1).tolist()
    familiar = plain_familiarities(whole) if any(learner.cutoff for learner in learners) else {}
    answers: list[Answers | Exception] = []
    end = 0
    for learner, each in zip(learners, said, strict=True):
        start, end = end, end + len(each.logits)
        known: list[bool | None] = [None] * (end - start)
        if learner.cutoff is not None:
            known = (familiar[learner.cutoff.score][start:end] >= learner.cutoff.value).tolist()
        answers.append(Answers(rows[start:end], known) if all(finite[start:end]) else _not_finite())
    return answers


def _plain_one(bundle: Bundle, learner: Learner, said: Prediction) -> Answers | Exception:
    p = said.mean
    if not torch.isfinite(p).all():
        return _not_finite()
    margins = bundle.margins(learner, said)
    known: list[bool | None] = [None] * len(p) if margins is None else (margins >= 0).tolist()
    return Answers(p.tolist(), known)


def _not_finite() -> Exception:
    return invalid(
        "the learner comes to no finite probabilities, for the numbers in its examples or in this input are too "
        "large. Send numbers of the size that the model was trained on.",
        "not_finite",
    )


def _bucket(count: int) -> int:
    """Sizes that go together: the next power of two."""
    return 1 << max(0, count - 1).bit_length()
