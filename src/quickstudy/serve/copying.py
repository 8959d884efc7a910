"""A whole store, copied to another database or checked: for backups, and to grow from SQLite to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from quickstudy.errors import StoreDamagedError, StoreError
from quickstudy.serve.rows import record_of
from quickstudy.serve.schema import keys, learners, tenants
from quickstudy.serve.transactions import Transactions

__all__ = ["Copied", "check", "copy"]

AT_ONCE = 100
"""Learners held in memory together."""


@dataclass(frozen=True)
class Copied:
    """What a store held."""

    tenants: int
    keys: int
    learners: int
    damaged: tuple[tuple[str, str], ...]
    """Tenants and ids of learners that are not what was written: they were left out."""


def copy(source: Transactions, target: Transactions) -> Copied:
    """Copy tenants, keys and learners, as they were at one moment, into an empty store: all of them or none.

    The source may be in use meanwhile. Keys stay valid: their hashes are copied.

    Raises:
        StoreError: the target is not empty, or one of them cannot do its part.
    """
    return source.snapshot(lambda read: target.write(lambda written, again: _copy(read, written)))


def check(source: Transactions) -> Copied:
    """Read every learner and compare it with its checksums.

    Raises:
        StoreError: the database cannot be read.
    """
    return source.snapshot(lambda read: _passed(read, []))


def _copy(read: Connection, written: Connection) -> Copied:
    if written.execute(select(func.count()).select_from(tenants)).scalar_one():
        raise StoreError("the database to copy into holds tenants already. Nothing was changed: name an empty one.")
    for table in (tenants, keys):
        _insert(written, table, (row._asdict() for row in read.execute(select(table))))
    left_out: list[tuple[str, str]] = []
    _insert(written, learners, (row._asdict() for row in _whole(read, left_out)))
    for tenant, _ in left_out:
        fewer = tenants.update().where(tenants.c.name == tenant).values(learners=tenants.c.learners - 1)
        written.execute(fewer)
    return _counted(read, left_out)


def _passed(read: Connection, left_out: list[tuple[str, str]]) -> Copied:
    for _ in _whole(read, left_out):
        pass
    return _counted(read, left_out)


def _counted(read: Connection, left_out: list[tuple[str, str]]) -> Copied:
    counts = [read.execute(select(func.count()).select_from(table)).scalar_one() for table in (tenants, keys, learners)]
    return Copied(counts[0], counts[1], counts[2] - len(left_out), tuple(left_out))


def _whole(read: Connection, left_out: list[tuple[str, str]]) -> Iterator[Row[Any]]:
    """Rows of learners that are what was written; the others are named in `left_out`."""
    for row in read.execution_options(yield_per=AT_ONCE).execute(select(learners)):
        try:
            record_of(row)
        except StoreDamagedError:
            left_out.append((row.tenant, row.id))
            continue
        yield row


def _insert(written: Connection, table: Any, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        written.execute(table.insert().values(**row))
