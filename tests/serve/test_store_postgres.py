"""PostgreSQL that restarts, and answers that are lost on the way."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from typing import Any

import pytest

from quickstudy.serve.records import LearnerRecord
from serve.learners import learner

pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")


def lose_answers(monkeypatch: pytest.MonkeyPatch, store: Any) -> list[int]:
    """Let every first commit of a piece of work reach the disk, and its answer be lost."""
    import psycopg

    dialect = store._work._engine.dialect
    commits, commit = [0], dialect.do_commit

    def lost(connection: Any) -> None:
        commit(connection)
        commits[0] += 1
        if commits[0] % 2 == 1:
            connection.dbapi_connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", lost)
    return commits


def test_work_whose_answer_was_lost_is_not_done_twice(
    postgres_server: Any, open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(postgres_server.schema())
    made = learner()
    with monkeypatch.context() as context:
        commits = lose_answers(context, store)
        store.create("alice", made, quota=1)
        assert commits == [2]
        assert store.replace("alice", dataclasses.replace(made, state=b"after"), 0)
        assert commits == [4]
    assert store.get("alice", made.id).revision == 1
    assert store.get("alice", made.id).state == b"after"
    assert store.count("alice") == 1
    with monkeypatch.context() as context:
        lose_answers(context, store)
        assert store.delete("alice", made.id)
        key = store.add_key("alice")
    assert store.count("alice") == 0
    assert store.get("alice", made.id) is None
    assert len(store.keys()) == 1
    assert store.tenant_of(key) == "alice"
    with monkeypatch.context() as context:
        lose_answers(context, store)
        assert store.revoke(key.split("_")[1])


def wait_for_more(stored: list[LearnerRecord]) -> None:
    """Wait until some learners more are stored."""
    until, enough = time.monotonic() + 60, len(stored) + 8
    while len(stored) < enough:
        assert time.monotonic() < until, "nothing is stored any more"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["tidily", "as in a crash"])
def test_postgres_restarted_under_load(postgres_server: Any, how: signal.Signals, open_store: Any) -> None:
    url = postgres_server.schema()
    store = open_store(url, patience=60)
    stop = threading.Event()
    stored: list[LearnerRecord] = []
    errors: list[Exception] = []

    def work() -> None:
        while not stop.is_set():
            made = learner(state=os.urandom(2000))
            try:
                store.create("alice", made)
                assert store.replace("alice", dataclasses.replace(made, state=made.state[::-1]), 0)
                assert store.get("alice", made.id).state == made.state[::-1]
            except Exception as error:
                errors.append(error)
                return
            stored.append(made)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        wait_for_more(stored)
        postgres_server.stop(how)
        time.sleep(0.2)
        postgres_server.start()
    wait_for_more(stored)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    for made in stored:
        assert store.get("alice", made.id).state == made.state[::-1]
    assert store.count("alice") == len(stored) == store.check().learners
