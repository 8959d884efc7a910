"""What learners are made of, and what becomes of them when their examples change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from quickstudy.bundle import Bundle, Learner
from quickstudy.core.shapes import Tensor
from quickstudy.serve import work
from quickstudy.serve.records import LearnerRecord, now
from quickstudy.serve.refusals import RefusedError, invalid, not_found, too_large
from quickstudy.serve.settings import Limits
from quickstudy.serve.support import Support

__all__ = [
    "Change",
    "Changed",
    "check_size",
    "counts",
    "fitting",
    "places",
    "rewritten",
    "without_class",
    "without_example",
    "worth_keeping",
]

ENCODED = 16384
"""Bytes of an encoded example that is kept beside the example itself, where encoding takes a net."""


class Changed(NamedTuple):
    """A learner's classes and examples after a change."""

    classes: tuple[str, ...]
    support: Support
    new: list[Any]
    """What is new among the contents of the support: the last of them."""


Change = Callable[[LearnerRecord, Support, Bundle], Changed]
"""What becomes of a learner and its examples; the bundle is the one that it is to belong to."""


def check_size(limits: Limits, bundle: Bundle, classes: Sequence[str], examples: int) -> None:
    """Raises:
    RefusedError: so many classes and examples make no learner of this bundle on this server.
    """
    if len(classes) < 2:
        raise invalid("got examples of one class; telling apart takes two. Send examples of another class too.")
    if bundle.ways is not None and len(classes) > bundle.ways:
        raise invalid(
            f"got {len(classes)} classes; model {bundle.name!r} tells at most {bundle.ways} apart. Leave some out, "
            "or use a model whose `ways` is null."
        )
    if len(classes) > limits.classes:
        raise too_large(f"got {len(classes)} classes; a learner may have {limits.classes} on this server.")
    if examples > limits.examples:
        raise too_large(f"got {examples} examples; a learner may have {limits.examples} on this server.")


def without_class(record: LearnerRecord, support: Support, at: int) -> Changed:
    """A learner without one of its classes.

    Raises:
        RefusedError: one class would be left.
    """
    if len(record.classes) <= 2:
        raise RefusedError(
            409,
            "too_few_classes",
            "the learner has two classes, and telling apart takes two. Add another class first, or delete the learner.",
        )
    return Changed(record.classes[:at] + record.classes[at + 1 :], support.without(at), [])


def without_example(record: LearnerRecord, support: Support, id: str) -> Changed:
    """A learner without one of its examples, and without a class that had no other.

    Raises:
        RefusedError: it has no such example, or one class would be left.
    """
    gone = [at for at, each in enumerate(support.ids(record.classes)) if each == id]
    if not gone:
        raise not_found("example")
    label = support.labels[gone[0]]
    if support.labels.count(label) == len(gone):
        return without_class(record, support, label)
    return Changed(record.classes, support.only([at for at in range(len(support.labels)) if at not in gone]), [])


def fitting(support: Support, bundle: Bundle) -> list[Any]:
    """The contents of a support, if a bundle takes such.

    Raises:
        RefusedError: it takes another kind.
    """
    if support.kind != bundle.encoder.kind:
        raise RefusedError(
            409,
            "other_kind",
            f"the learner was made of {support.kind}s, and version {bundle.version} of its model takes "
            f"{bundle.encoder.kind}s. Make a new learner.",
        )
    return support.contents


def rewritten(record: LearnerRecord, after: Changed, learner: Learner, encoded: Tensor | None) -> LearnerRecord:
    """A learner after a change, adapted anew."""
    support = after.support._replace(encoded=encoded, version=learner.version)
    return dataclasses.replace(
        record,
        version=learner.version,
        classes=after.classes,
        counts=counts(support.labels, len(after.classes)),
        state=learner.to_bytes(),
        support=support.to_bytes(),
        updated=now(),
    )


def places(classes: Sequence[str], labels: Sequence[str]) -> list[int]:
    """The place of each example's class among the classes."""
    place = {name: at for at, name in enumerate(classes)}
    return [place[label] for label in labels]


def counts(labels: Sequence[int], classes: int) -> tuple[int, ...]:
    """How many examples each class has."""
    return tuple(labels.count(at) for at in range(classes))


def worth_keeping(bundle: Bundle, x: Tensor) -> Tensor | None:
    """Encoded examples, where making them takes a net and they are small."""
    small = x[:1].numel() * x.element_size() <= ENCODED
    return x if small and not work.is_light(bundle) else None
