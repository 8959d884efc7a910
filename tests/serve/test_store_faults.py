"""What happens to the store when something goes wrong: nothing acknowledged is lost, no answer is wrong."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from quickstudy.errors import StoreBusyError, StoreDamagedError, StoreError, StoreFullError, StoreUnreachableError
from serve.learners import learner

pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")

import sqlalchemy

from quickstudy.serve import faults
from quickstudy.serve.store import Store

WRITER = """
    import dataclasses, random, sys, threading
    from quickstudy.serve.store import Store
    from serve.learners import learner

    store = Store.open(sys.argv[1], patience=60)
    said = threading.Lock()

    def say(*words):
        with said:
            print(*words, flush=True)

    def content(record, revision):
        return random.Random(f"{record.id} {revision}").randbytes(20_000)

    def write(thread):
        while True:
            record = learner()
            record = dataclasses.replace(record, state=content(record, 0), support=b"")
            say("create", record.id)
            store.create("alice", record)
            say("created", record.id, 0)
            for revision in (1, 2):
                say("replace", record.id, revision)
                changed = dataclasses.replace(record, state=content(record, revision))
                assert store.replace("alice", changed, revision - 1)
                say("replaced", record.id, revision)

    for thread in range(3):
        threading.Thread(target=write, args=[thread], daemon=True).start()
    threading.Event().wait()
"""


def killed_writer(url: str, seconds: float) -> list[list[str]]:
    """What a process said that wrote learners from three threads, until it was killed."""
    program = [sys.executable, "-c", textwrap.dedent(WRITER), url]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        return [line.split() for line in [first, *writer.stdout] if line.endswith("\n")]


def test_killed_at_any_moment_the_store_has_all_that_it_acknowledged(url: str, open_store: Any) -> None:
    chance = random.Random(0)
    attempted: dict[str, int] = {}
    acknowledged: dict[str, int] = {}
    for _ in range(3):
        for verb, id, *revision in killed_writer(url, chance.uniform(0.1, 0.4)):
            if verb in ("created", "replaced"):
                acknowledged[id] = int(revision[0])
            else:
                attempted[id] = int(revision[0]) if revision else 0
    store = open_store(url, create=False)
    assert len(acknowledged) > 20
    for id, tried in attempted.items():
        found = store.get("alice", id)
        if id in acknowledged:
            assert found is not None
            assert found.revision in (acknowledged[id], tried)
        if found is not None:  # what was not acknowledged is there whole, or not at all
            assert found.state == random.Random(f"{id} {found.revision}").randbytes(20_000)
    assert store.count("alice") == len(store.list("alice", limit=10**6)) == store.check().learners


def test_every_connection_waits_for_the_disk(tmp_path: Path, open_store: Any) -> None:
    """A process that is killed shows nothing of this: only a power cut would."""
    store = open_store(tmp_path / "learners.db")
    engine = store._work._engine
    with engine.connect() as one, engine.connect() as other:
        for connection in (one, other):
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_postgres_waits_for_the_disk_whatever_the_server_is_set_to(postgres_server: Any, open_store: Any) -> None:
    url = postgres_server.database()
    name = url.split("/")[3].split("?")[0]
    for value, expected in (("off", "on"), ("remote_write", "remote_write"), ("local", "local")):
        with closing(postgres_server.connect()) as connection:
            connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {value}")
        store = open_store(url)
        found = store._work.read(lambda c: c.exec_driver_sql("SHOW synchronous_commit").scalar())
        assert found == expected


def test_a_locked_file(tmp_path: Path, open_store: Any) -> None:
    store = open_store(tmp_path / "learners.db", patience=0.2)
    made = learner()
    store.create("alice", made)
    with closing(sqlite3.connect(tmp_path / "learners.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for change in (
            lambda: store.create("alice", learner()),
            lambda: store.replace("alice", made, 0),
            lambda: store.delete("alice", made.id),
            lambda: store.add_key("alice"),
        ):
            with pytest.raises(StoreBusyError, match=r"is busy.*Try again in a moment"):
                change()
        assert store.get("alice", made.id) == made, "who reads does not wait"
        other.execute("ROLLBACK")
    store.create("alice", learner())
    assert store.count("alice") == 2
    assert store.keys() == []


def test_a_locked_row_under_postgres(postgres_server: Any, open_store: Any) -> None:
    url = postgres_server.database()
    store = open_store(url, patience=0.2)
    made = learner()
    store.create("alice", made)
    with closing(postgres_server.connect(url.split("/")[3].split("?")[0])) as other, other.transaction():
        other.execute("SELECT 1 FROM quickstudy_learners FOR UPDATE")
        with pytest.raises(StoreBusyError, match=r"is busy.*lock timeout"):
            store.replace("alice", made, 0)
        assert store.get("alice", made.id) == made
    assert store.replace("alice", made, 0)


def test_more_threads_than_connections_wait_and_are_told(url: str, open_store: Any) -> None:
    store = open_store(url, patience=0.1)
    held = [store._work._engine.connect() for _ in range(16)]
    with pytest.raises(StoreBusyError, match="all its connections are in use"):
        store.ping()
    for connection in held:
        connection.close()
    store.ping()


def test_postgres_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg comes with the extra `postgres`")
    before = time.monotonic()
    with pytest.raises(StoreUnreachableError, match="cannot be reached") as caught:
        Store.open(f"postgresql://tester:hush@/none?host={tmp_path}", patience=0.3)
    assert "hush" not in str(caught.value)
    assert time.monotonic() - before < 20


@pytest.mark.parametrize(
    ("code", "kind", "again"),
    [
        ("57P01", StoreUnreachableError, True),
        ("57P03", StoreUnreachableError, True),
        ("08006", StoreUnreachableError, True),
        ("25006", StoreUnreachableError, True),
        ("", StoreUnreachableError, True),
        ("40P01", StoreBusyError, True),
        ("40001", StoreBusyError, True),
        ("55P03", StoreBusyError, False),
        ("57014", StoreBusyError, False),
        ("53300", StoreBusyError, False),
        ("53100", StoreFullError, False),
        ("XX001", StoreDamagedError, False),
        ("42P01", StoreDamagedError, False),
        ("42601", StoreError, False),
    ],
)
def test_what_the_codes_of_postgres_mean(code: str, kind: type[StoreError], again: bool) -> None:
    class SaidError(Exception):
        sqlstate = code

    error = sqlalchemy.exc.OperationalError("INSERT", {"example": "secret"}, SaidError("as the server says"))
    meant = faults.meaning(error, "postgresql://somewhere")
    assert type(meant) is kind
    assert "as the server says" in str(meant)
    assert "secret" not in str(meant)
    assert faults.passes(error) == again
