"""What an error of a database means, in words of the store: drivers have their own numbers for the same few things."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import exc

from quickstudy.errors import StoreBusyError, StoreDamagedError, StoreError, StoreFullError, StoreUnreachableError

__all__ = ["meaning", "passes"]

_SQLITE: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_BUSY: StoreBusyError,
    sqlite3.SQLITE_LOCKED: StoreBusyError,
    sqlite3.SQLITE_PROTOCOL: StoreBusyError,
    sqlite3.SQLITE_FULL: StoreFullError,
    sqlite3.SQLITE_CORRUPT: StoreDamagedError,
    sqlite3.SQLITE_NOTADB: StoreDamagedError,
    sqlite3.SQLITE_FORMAT: StoreDamagedError,
    sqlite3.SQLITE_CANTOPEN: StoreUnreachableError,
    sqlite3.SQLITE_READONLY: StoreUnreachableError,
    sqlite3.SQLITE_PERM: StoreUnreachableError,
    sqlite3.SQLITE_IOERR: StoreUnreachableError,
}
_SQLITE_NO_ROOM = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE}

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES: dict[str, type[StoreError]] = {
    "08": StoreUnreachableError,  # connection exceptions
    "57P": StoreUnreachableError,  # shut down, crashed, starting up
    "25006": StoreUnreachableError,  # read-only: a standby, or a primary that has just stepped down
    "58": StoreUnreachableError,  # an error of the system's, such as I/O
    "40": StoreBusyError,  # deadlock, or changes that exclude each other
    "55P03": StoreBusyError,  # waited too long for a lock
    "57014": StoreBusyError,  # took too long
    "53": StoreBusyError,  # out of memory or connections
    "53100": StoreFullError,  # out of disk
    "XX": StoreDamagedError,  # corrupt data or index
    "42P01": StoreDamagedError,  # a table is gone
    "42703": StoreDamagedError,  # or a column
}

_MENDS: dict[type[StoreError], str] = {
    StoreBusyError: "Nothing was changed. Try again in a moment; if it stays so, look for what holds the lock.",
    StoreFullError: "Nothing was changed, and what is stored is safe. Make room on its disk; reading still works.",
    StoreDamagedError: (
        "Stop the server, keep a copy of the database as it is, and restore the last backup "
        "(for SQLite, `sqlite3 OLD .recover | sqlite3 NEW` saves what can be read)."
    ),
    StoreUnreachableError: "Nothing is known to be lost. See that it runs, where its address says, and may be written.",
    StoreError: "Nothing was changed.",
}
_SAYS: dict[type[StoreError], str] = {
    StoreBusyError: "is busy",
    StoreFullError: "has no room left",
    StoreDamagedError: "is damaged",
    StoreUnreachableError: "cannot be reached",
    StoreError: "refused what was asked",
}


def meaning(error: exc.SQLAlchemyError | UnicodeDecodeError, where: str) -> StoreError:
    """The error of the store that an error of the database amounts to.

    Args:
        error: What SQLAlchemy raised; or the driver, where SQLite quotes a damaged page in its message.
        where: The address of the database, without its password.
    """
    kind, said = _understood(error)
    reason = " ".join(said.split()) or type(error).__name__
    return kind(f"the database {where} {_SAYS[kind]}: {reason}. {_MENDS[kind]}")


def passes(error: Exception) -> bool:
    """Whether the same work may succeed a moment later: a PostgreSQL server restarts, a deadlock is over when seen.

    SQLite has waited for its lock already when it says that it is busy.
    """
    if not isinstance(error, exc.DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    kind = _kind(error)
    return kind is StoreUnreachableError or (kind is StoreBusyError and _state(error).startswith("40"))


def _understood(error: exc.SQLAlchemyError | UnicodeDecodeError) -> tuple[type[StoreError], str]:
    if isinstance(error, UnicodeDecodeError):
        return StoreDamagedError, "it holds text that is none"
    if isinstance(error, exc.DBAPIError):
        return _kind(error), str(error.orig)
    if isinstance(error, exc.TimeoutError):
        return StoreBusyError, "all its connections are in use"
    return StoreError, str(error)


def _kind(error: exc.DBAPIError) -> type[StoreError]:
    return _sqlite(error.orig) if isinstance(error.orig, sqlite3.Error) else _postgres(error)


def _sqlite(error: sqlite3.Error) -> type[StoreError]:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:  # text that is not UTF-8: it was when it was written
        return StoreDamagedError if "decode" in str(error) else StoreError
    if code == sqlite3.SQLITE_ERROR and "no such" in str(error):  # what is asked for was there when it was made
        return StoreDamagedError
    if code in _SQLITE_NO_ROOM:
        return StoreFullError
    return _SQLITE.get(code & 0xFF, StoreError)


def _postgres(error: exc.DBAPIError) -> type[StoreError]:
    state = _state(error)
    for length in (5, 3, 2):
        if state[:length] in _POSTGRES:
            return _POSTGRES[state[:length]]
    # A connection that breaks has no code: nobody was left to send one.
    lost = error.connection_invalidated or (not state and isinstance(error, exc.OperationalError))
    return StoreUnreachableError if lost else StoreError


def _state(error: exc.DBAPIError) -> str:
    found: Any = getattr(error.orig, "sqlstate", None)
    return found or ""
