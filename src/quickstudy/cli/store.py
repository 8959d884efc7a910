"""`quickstudy store`: a server's database as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App

from quickstudy.cli import screen
from quickstudy.cli.keys import DATABASE, Database, opened

if TYPE_CHECKING:
    from quickstudy.serve.copying import Copied

__all__ = ["app"]

EXAMPLES = """\
Examples:
  quickstudy store check
  quickstudy store copy learners.db backup-2026-11-21.db
  quickstudy store copy learners.db postgresql://serve@localhost/learners
"""


def app(order: int) -> App:
    """The commands on databases, one group, at this place among all commands."""
    made = App(
        name="store", help="Back up, move and check a server's database.", help_epilogue=EXAMPLES, sort_key=order
    )
    made.command(copy, help_epilogue=EXAMPLES)
    made.command(check, help_epilogue=EXAMPLES)
    return made


def copy(source: str, target: str, /) -> int:
    """Copy tenants, keys and learners into an empty database: a backup, or a move from SQLite to PostgreSQL.

    All is copied as it was at one moment. The server may go on meanwhile; what it stores after that is not in the copy.
    Learners that are damaged are left out and named.

    Args:
        source: The database to copy: the path of an SQLite file, or a URL.
        target: Where to; a new file, or a PostgreSQL database without learners.
    """
    with opened(source, create=False) as one, opened(target, create=True) as other:
        return _told(one.copy(other), "Copied", "left out")


def check(*, db: Database = DATABASE) -> int:
    """Read every learner and compare it with the checksums it was written with.

    Args:
        db: The server's database.
    """
    with opened(db, create=False) as store:
        return _told(store.check(), "Read", "damaged")


def _told(found: Copied, verb: str, fate: str) -> int:
    screen.say(f"{verb}: learners {found.learners}, keys {found.keys}, tenants {found.tenants}.")
    for tenant, learner in found.damaged:
        screen.warn(f"Learner {learner} of {tenant} is not what was written: {fate}.")
    return 1 if found.damaged else 0
