"""Work in transactions: in turn, tried again where that helps, and its errors in words of the store."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from sqlalchemy import Connection, Engine, exc

from quickstudy.errors import StoreBusyError
from quickstudy.serve import faults
from quickstudy.serve.database import WRITES

__all__ = ["Transactions"]

Result = TypeVar("Result")

FIRST_WAIT, LONGEST_WAIT = 0.05, 0.5  # seconds between one try and the next


class Transactions:
    """One transaction for each piece of work; safe to use from many threads.

    Args:
        engine: The database.
        patience: Seconds to wait for a lock, and to try again while PostgreSQL restarts.
    """

    def __init__(self, engine: Engine, patience: float) -> None:
        self.where = engine.url.render_as_string(hide_password=True)
        """The address of the database, without its password."""
        self._engine, self._patience = engine, patience
        self._writing = engine.execution_options(**{WRITES: True})
        # SQLite has one writer at a time. Its own waiting is a sleep of up to 0.1 s, taken by chance; a lock is quick.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else None

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Do work that changes nothing.

        Raises:
            StoreError: the database cannot do it.
        """
        return self._do(self._engine, lambda connection, again: work(connection), contextlib.nullcontext)

    def snapshot(self, work: Callable[[Connection], Result]) -> Result:
        """Do work that reads much, and sees all of it as it was at one moment.

        Raises:
            StoreError: the database cannot do it.
        """
        still = self._engine
        if self._turn is None:  # SQLite's transactions are so without asking
            still = still.execution_options(isolation_level="REPEATABLE READ")
        return self._do(still, lambda connection, again: work(connection), contextlib.nullcontext)

    def write(self, work: Callable[[Connection, bool], Result]) -> Result:
        """Do work wholly or not at all; when this returns, it is on the disk.

        The work is told whether it is tried again: then an earlier try may have reached the disk, and only its answer
        have been lost.

        Raises:
            StoreError: the database cannot do it.
        """
        return self._do(self._writing, work, self._in_turn)

    def _do(
        self,
        engine: Engine,
        work: Callable[[Connection, bool], Result],
        turn: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> Result:
        until, wait, again = time.monotonic() + self._patience, FIRST_WAIT, False
        while True:
            try:
                with turn(), engine.begin() as connection:
                    return work(connection, again)
            except (exc.SQLAlchemyError, UnicodeDecodeError) as error:
                if not faults.passes(error) or time.monotonic() + wait > until:
                    raise faults.meaning(error, self.where) from error
            time.sleep(wait)
            wait, again = min(2 * wait, LONGEST_WAIT), True

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=self._patience):
            raise StoreBusyError(
                f"the database {self.where} is busy: {self._patience:g} s have not been enough for all who write. "
                "Nothing was changed. Try again in a moment."
            )
        try:
            yield
        finally:
            self._turn.release()
