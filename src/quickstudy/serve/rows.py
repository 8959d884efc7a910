"""Learners as rows of a table and back, sealed with checksums: databases do not see a page change under them."""

from __future__ import annotations

import json
import secrets
from typing import Any

from sqlalchemy import Row

from quickstudy.errors import StoreDamagedError
from quickstudy.serve.records import LearnerRecord, LearnerState, LearnerSummary, checksum, from_ticks, ticks
from quickstudy.serve.schema import learners

__all__ = ["HEAD", "record_of", "row_of", "state_of", "summary_of"]

HEAD = [column for column in learners.c if column.name not in ("token", "state", "support")]
"""The columns that a list needs: all but the contents."""

_SEALED = ("name", "model", "version", "classes", "counts", "kept", "created", "updated")
_HEAD, _STATE, _SUPPORT = range(3)
_SUM = 32  # bytes of each of the three checksums in `sums`


def row_of(tenant: str, record: LearnerRecord, revision: int) -> dict[str, Any]:
    """A learner as a row, with the checksums it is read by and a token of its own."""
    row: dict[str, Any] = {
        "tenant": tenant,
        "id": record.id,
        "name": record.name,
        "model": record.model,
        "version": record.version,
        "classes": json.dumps(list(record.classes)),
        "counts": json.dumps(list(record.counts)),
        "kept": int(record.support is not None),
        "revision": revision,
        "created": ticks(record.created),
        "updated": ticks(record.updated),
        "token": secrets.token_bytes(8),
        "state": record.state,
        "support": record.support,
    }
    parts = (_head(row), record.state, record.support or b"")
    row["sums"] = b"".join(checksum(tenant, record.id, revision, part) for part in parts)
    return row


def summary_of(row: Row[Any]) -> LearnerSummary:
    """A learner from the columns of `HEAD`.

    Raises:
        StoreDamagedError: what is stored is not what was written.
    """
    _check(row, _HEAD, _head(row._mapping))
    return LearnerSummary(
        row.id,
        row.name,
        row.model,
        row.version,
        tuple(json.loads(row.classes)),
        tuple(json.loads(row.counts)),
        bool(row.kept),
        row.revision,
        from_ticks(row.created),
        from_ticks(row.updated),
    )


def state_of(row: Row[Any]) -> LearnerState:
    """What answers queries, from the columns of `HEAD` and the state.

    Raises:
        StoreDamagedError: what is stored is not what was written.
    """
    head = summary_of(row)
    _check(row, _STATE, row.state)
    return LearnerState(head.model, head.version, head.classes, row.state, head.revision)


def record_of(row: Row[Any]) -> LearnerRecord:
    """A whole learner, from the columns of `HEAD`, the state and the support.

    Raises:
        StoreDamagedError: what is stored is not what was written.
    """
    head = summary_of(row)
    _check(row, _STATE, row.state)
    _check(row, _SUPPORT, row.support if head.kept else b"")
    return LearnerRecord(
        head.id,
        head.name,
        head.model,
        head.version,
        head.classes,
        head.counts,
        row.state,
        row.support if head.kept else None,
        head.revision,
        head.created,
        head.updated,
    )


def _head(row: Any) -> bytes:
    return checksum(*(row[name] if isinstance(row[name], (str, int)) else repr(row[name]) for name in _SEALED))


def _check(row: Row[Any], place: int, part: Any) -> None:
    """A checksum fits one part of one revision of one learner: what was moved fits as little as what was changed."""
    sums = row.sums if isinstance(row.sums, bytes) else b""
    whole = isinstance(part, bytes) and isinstance(row.revision, int)
    if not whole or sums[place * _SUM : (place + 1) * _SUM] != checksum(row.tenant, row.id, row.revision, part):
        raise StoreDamagedError(
            f"the database is damaged: learner {row.id} is not what was written. Delete it and teach it again, or "
            "restore the last backup. What is said of other learners is checked in the same way."
        )
