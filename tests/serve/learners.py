"""Learners for tests of the store."""

from __future__ import annotations

from typing import Any

from quickstudy.serve.records import LearnerRecord, new_id


def learner(**changes: Any) -> LearnerRecord:
    """A learner of two classes."""
    given: dict[str, Any] = {
        "id": new_id(),
        "name": "letters",
        "model": "omniglot",
        "version": "0123456789ab",
        "classes": ("ka", "ki"),
        "counts": (2, 1),
        "state": b"state",
        "support": b"support",
    }
    return LearnerRecord(**{**given, **changes})
