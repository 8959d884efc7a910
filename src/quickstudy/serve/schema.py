"""The tables of the store, alike in SQLite and PostgreSQL, and their version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from quickstudy.errors import StoreError

__all__ = ["SCHEMA", "TABLES", "keys", "learners", "prepare", "tenants"]

SCHEMA = 1
"""The version of these tables."""

MIGRATIONS: dict[int, Callable[[Connection], None]] = {}
"""What brings tables of a version to the next. Version 1 is the first, so there is none yet."""

TABLES = MetaData()


class _Blob(LargeBinary):
    """Bytes as the driver gives them: what a damaged row gives instead is for checksums to judge, not to convert."""

    cache_ok = True

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        return None


schema = Table("quickstudy_schema", TABLES, Column("version", Integer, nullable=False))

tenants = Table(
    "quickstudy_tenants",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("learners", Integer, CheckConstraint("learners >= 0"), nullable=False),  # counted here, to bound it at once
    Column("quota", Integer),
    Column("created", BigInteger, nullable=False),
)

keys = Table(
    "quickstudy_keys",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, ForeignKey(tenants.c.name), nullable=False),
    Column("salt", _Blob, nullable=False),
    Column("digest", _Blob, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
)

# The large columns come last: SQLite then reads the others without passing through them.
learners = Table(
    "quickstudy_learners",
    TABLES,
    Column("tenant", Text, ForeignKey(tenants.c.name), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("classes", Text, nullable=False),
    Column("counts", Text, nullable=False),
    Column("kept", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("token", _Blob, nullable=False),  # of the last write: whoever was cut off while writing knows it again
    Column("sums", _Blob, nullable=False),
    Column("state", _Blob, nullable=False),
    Column("support", _Blob),
    Index("quickstudy_learners_of_a_model", "model", "tenant", "id"),
)

OPENING = 7_152_039
"""The number of the lock that processes opening one PostgreSQL database at the same time wait for."""


def prepare(connection: Connection, create: bool = True) -> None:
    """Make the tables, or bring those of an older version up to date; in one transaction, so wholly or not at all.

    Raises:
        StoreError: they are of a newer version; or there are none, and they are not to be made.
        sqlalchemy.exc.DBAPIError: they are not what they were.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(OPENING)))
    if not sqlalchemy.inspect(connection).has_table(schema.name):
        if not create:
            raise StoreError("the database has no tables of learners. Name that of the server, or start it first.")
        TABLES.create_all(connection, checkfirst=False)
        connection.execute(schema.insert().values(version=SCHEMA))
        return
    found = connection.execute(sqlalchemy.select(schema.c.version)).scalar_one()
    if found > SCHEMA:
        raise StoreError(
            f"the database has tables of version {found}, and this quickstudy knows {SCHEMA} and older. Nothing was "
            "changed: open it with the quickstudy that wrote it, or a newer one."
        )
    for version in range(found, SCHEMA):
        MIGRATIONS[version](connection)
        connection.execute(schema.update().values(version=version + 1))
    for table in TABLES.sorted_tables:
        connection.execute(sqlalchemy.select(table).limit(0))  # fails now, not later, where a column is not there
