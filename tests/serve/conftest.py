"""Every test of the store runs on SQLite, and on a real PostgreSQL server where its programs are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serve import postgres

if TYPE_CHECKING:
    from quickstudy.serve.store import Store

    Opener = Callable[..., Store]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A PostgreSQL server of this session's own."""
    pytest.importorskip("psycopg", reason="psycopg comes with the extra `postgres`")
    if reason := postgres.missing():
        pytest.skip(reason)
    server = postgres.Server("fsync=off", "shared_buffers=32MB")  # the machine does not lose its power in tests
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, of either kind."""
    pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'learners.db'}"
    server: postgres.Server = request.getfixturevalue("postgres_server")
    return server.schema()


@pytest.fixture
def open_store() -> Iterator[Opener]:
    """`Store.open`, with every store closed at the end."""
    from quickstudy.serve.store import Store

    with ExitStack() as stack:

        def opened(url: Any, **options: Any) -> Store:
            store = Store.open(url, **options)
            stack.callback(store.close)
            return store

        yield opened


@pytest.fixture
def store(url: str, open_store: Opener) -> Store:
    """An empty store."""
    return open_store(url)


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Addresses of further empty databases of a kind."""
    numbers = count()

    def made(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / f'new{next(numbers)}.db'}"
        server: postgres.Server = request.getfixturevalue("postgres_server")
        return server.schema()

    return made
