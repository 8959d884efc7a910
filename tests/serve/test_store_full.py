"""A full disk: clear refusals, all that was acknowledged still there, and on by itself when there is room."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quickstudy.errors import StoreFullError
from quickstudy.serve.records import LearnerRecord
from serve import postgres
from serve.disks import small_disk
from serve.learners import learner

pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")

from quickstudy.serve.store import Store


def fill(store: Store, size: int = 20_000, most: int = 10_000) -> list[LearnerRecord]:
    """Learners stored until the disk is full."""
    stored = []
    for _ in range(most):
        made = learner(state=os.urandom(size))
        try:
            store.create("alice", made)
        except StoreFullError:
            return stored
        stored.append(made)
    raise AssertionError("the disk was never full")


def check_full(store: Store, stored: list[LearnerRecord]) -> None:
    """On a full disk: clear refusals, and everything acknowledged can be read."""
    assert len(stored) > 10
    with pytest.raises(StoreFullError, match="has no room left"):
        store.create("alice", learner(state=os.urandom(500_000)))
    big = dataclasses.replace(stored[0], state=os.urandom(500_000))
    with pytest.raises(StoreFullError, match="Make room"):
        store.replace("alice", big, 0)
    assert [store.get("alice", each.id) for each in stored] == stored
    assert store.count("alice") == len(store.list("alice", limit=10**6)) == len(stored)


def test_a_full_disk_under_sqlite(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1_000_000))
        with closing(Store.open(disk / "learners.db")) as store:
            stored = fill(store)
            check_full(store, stored)
            ballast.unlink()
            store.create("alice", learner(state=os.urandom(100_000)))  # goes on by itself when there is room
            assert store.delete("alice", stored[0].id)
        with closing(Store.open(disk / "learners.db")) as store:
            assert store.check().damaged == ()
            assert store.count("alice") == len(stored)


FULL = """
    import resource, sys
    sys.path.insert(0, sys.argv[2])
    from quickstudy.serve.store import Store
    from serve.test_store_full import check_full, fill
    store = Store.open(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    stored = fill(store)
    check_full(store, stored)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.create("alice", stored[0].__class__(**{**vars(stored[0]), "id": "0" * 32}))
    assert store.count("alice") == len(stored) + 1
    print("as promised")
"""


def test_a_file_that_may_not_grow_under_sqlite(tmp_path: Path) -> None:
    """Where no disk can be made small: the largest size of a file, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / "learners.db"), str(Path(__file__).parents[1])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "as promised", done.stderr


@pytest.fixture
def own_server() -> Iterator[postgres.Server]:
    """A PostgreSQL server for one test: one that has lost a disk serves nobody any more."""
    with postgres.running("fsync=off") as server:
        yield server


def test_a_full_disk_under_postgres(own_server: postgres.Server) -> None:
    owner = own_server.folder.stat()
    with small_disk(own_server.folder / "disk", 16) as disk:
        os.chown(disk, owner.st_uid, owner.st_gid)
        with closing(own_server.connect()) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            connection.execute("CREATE DATABASE small TABLESPACE small")
            connection.execute("CHECKPOINT")  # the new database's own pages get their room before others take it
        with closing(Store.open(f"postgresql://tester@/small?host={own_server.folder}", patience=60)) as store:
            stored = fill(store, 100_000)
            check_full(store, stored)
            subprocess.run(["mount", "-o", "remount,size=32m", str(disk)], check=True)
            store.create("alice", learner(state=os.urandom(500_000)))
            assert store.check().damaged == ()
