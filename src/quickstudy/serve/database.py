"""Connections to the database: what is set on each of them, so that what is acknowledged is on the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event, exc

from quickstudy.core.extras import extra
from quickstudy.errors import SettingsError, StoreDamagedError, StoreUnreachableError

__all__ = ["WRITES", "address", "check_whole", "connect"]

CONNECTIONS = 8
"""Connections kept open; as many again open in a rush."""

STATEMENT_SECONDS = 30
"""Seconds that PostgreSQL may take over one statement."""

WRITES = "quickstudy_writes"
"""The execution option of transactions that write: SQLite has to know at their start."""

_EXPECTED = "Expected the path of a file, sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/DATABASE."


def address(url: str | os.PathLike[str]) -> URL:
    """The address of a database, from a URL or the path of an SQLite file.

    Raises:
        SettingsError: it is of another kind, or cannot be understood.
    """
    text = os.fspath(url)
    if "://" not in text:
        return address_of_file(text)
    try:
        found = sqlalchemy.make_url(text)
    except (exc.ArgumentError, ValueError) as error:  # says nothing of the text, which may hold a password
        raise SettingsError(f"the address of the database cannot be understood. {_EXPECTED}") from error
    backend = found.get_backend_name()
    if backend == "sqlite":
        return address_of_file(found.database or "")
    if backend in ("postgresql", "postgres"):
        extra("psycopg", "postgres")
        return found.set(drivername="postgresql+psycopg")
    raise SettingsError(f"got a database of kind {backend!r}. {_EXPECTED}")


def address_of_file(path: str) -> URL:
    """The address of an SQLite file.

    Raises:
        SettingsError: it names no file, but memory, where nothing would survive the process.
    """
    if path in ("", ":memory:"):
        raise SettingsError(
            "learners in memory alone would be lost with the process. Name a file: sqlite:///learners.db."
        )
    return URL.create("sqlite", database=path)


def connect(url: URL, patience: float, create: bool = True) -> Engine:
    """Connections to the database at this address; none is opened yet.

    Args:
        url: From `address`.
        patience: Seconds to wait for a lock or a free connection.
        create: Whether an SQLite file is made where there is none.

    Raises:
        StoreUnreachableError: an SQLite file that is not there, or may not be written.
    """
    # parameters are examples and hashes of keys: no error may show them
    pool: dict[str, Any] = {
        "pool_size": CONNECTIONS,
        "max_overflow": CONNECTIONS,
        "pool_timeout": patience,
        "hide_parameters": True,
    }
    if url.get_backend_name() == "sqlite":
        _make_private(Path(url.database or ""), create)
        engine = sqlalchemy.create_engine(url, connect_args={"timeout": patience}, **pool)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    known = {"connect_timeout": "5", "application_name": "quickstudy", "keepalives_idle": "30"}
    engine = sqlalchemy.create_engine(url, connect_args=known | dict(url.query), pool_pre_ping=True, **pool)
    event.listen(engine, "connect", lambda connection, _: _set_up_postgres(connection, patience))
    return engine


def check_whole(connection: Connection, where: str) -> None:
    """Read an SQLite file from end to end.

    Raises:
        StoreDamagedError: its pages do not fit together.
    """
    if connection.dialect.name != "sqlite":
        return
    found = [" ".join(str(line).split()) for line in connection.exec_driver_sql("PRAGMA integrity_check(3)").scalars()]
    if found != ["ok"]:
        raise StoreDamagedError(
            f"the database {where} is damaged: {'; '.join(found)}. Keep a copy of it as it is, "
            "and restore the last backup, or save what can be read: `sqlite3 OLD .recover | sqlite3 NEW`."
        )


def _make_private(path: Path, create: bool) -> None:
    """A file that its owner alone may read, where there is none: it will hold examples and hashes of keys."""
    if not create and not path.exists():
        raise StoreUnreachableError(f"there is no database {path}. Name that of the server: --db sqlite:///PATH.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnreachableError(
            f"the database {path} cannot be opened for writing: {(error.strerror or str(error)).lower()}. "
            "Name a file in a folder that this user may write to."
        ) from error


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    for setting in (
        "journal_mode = WAL",  # readers and the one writer do not wait for each other
        "synchronous = FULL",  # a commit returns when it is on the disk
        "foreign_keys = ON",
        "cell_size_check = ON",  # a damaged page is seen when it is read
        "trusted_schema = OFF",
        "journal_size_limit = 67108864",  # the log shrinks again after a rush
    ):
        connection.execute(f"PRAGMA {setting}").close()


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at its start, where waiting for it is possible; a reader that turns writer could not."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _set_up_postgres(connection: Any, patience: float) -> None:
    with connection.cursor() as cursor:
        # Whoever turned it off for the server did not think of us; stricter values than `on` stay.
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{max(1, round(1000 * patience))}ms"])
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", [f"{STATEMENT_SECONDS}s"])
    connection.commit()
