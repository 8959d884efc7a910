"""Databases for the tests of the store, SQLite's and a real PostgreSQL server's; servers and a browser for the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serve import asking, browser, postgres, served
from serve.served import Served

if TYPE_CHECKING:
    from quickstudy.serve.store import Store

    Opener = Callable[..., Store]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A PostgreSQL server of this session's own."""
    with postgres.running("fsync=off", "shared_buffers=32MB") as server:  # the machine does not lose its power in tests
        yield server


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


# --- servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., asking.Running]]:
    """Starts servers with these bundles, by default one of vectors, and these settings; stops them at the end."""
    with ExitStack() as stack:

        def running(*bundles: Any, **changes: Any) -> asking.Running:
            server = asking.Running(tmp_path, *(bundles or (asking.bundle(),)), **changes)
            server.start()
            stack.callback(server.stop)
            return server

        yield running


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.characters(tmp_path_factory.mktemp("bundles") / "characters")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, characters: Path) -> Iterator[Served]:
    """A server that anybody on this machine may use."""
    running = Served(tmp_path_factory.mktemp("open"), characters)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, characters: Path) -> Iterator[Served]:
    """A server that asks for a key."""
    running = Served(tmp_path_factory.mktemp("locked"), characters, keys=True)
    running.start()
    running.key = running.store.add_key("alice")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with models of text and of numbers."""
    running = asking.Running(tmp_path_factory.mktemp("mixed"), asking.bundle("text"), asking.bundle("vector"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    """Opens pages, and fails where one logged an error, broke its security policy or asked another host."""
    contexts: list[Any] = []
    wrong: list[str] = []
    allowed: list[str] = []

    def opened(url: str, expect: str = "", **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        allowed.append(expect)
        page = context.new_page()
        page.set_default_timeout(browser.SOON)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.on("request", lambda asked: asked.url.startswith(url) or wrong.append(asked.url))
        page.on("filechooser", lambda chooser: None)  # or its dialogs are caught only now and then
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    expected = [each for each in allowed if each]
    assert [each for each in wrong if not any(re.search(one, each) for one in expected)] == []
