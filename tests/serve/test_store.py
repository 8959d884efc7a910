"""What the store promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import dataclasses
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quickstudy.errors import SettingsError, StoreError, StoreQuotaError, StoreUnreachableError
from serve.learners import learner

pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")

from quickstudy.serve import schema
from quickstudy.serve.records import new_id

ODD = "ক ' \" ; -- % \\ \U0001f600 é é \u2028 null"


def test_a_learner_comes_back_as_it_was_given(store: Any) -> None:
    long_ago = datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    for made in (
        learner(),
        learner(support=None, revision=7),
        learner(name="", classes=(), counts=(), state=b"", support=b""),
        learner(name=ODD, model=ODD, version=ODD, classes=(ODD, "b"), state=bytes(range(256)), support=os.urandom(999)),
        learner(state=os.urandom(3_000_000), created=long_ago, updated=long_ago + timedelta(microseconds=1)),
    ):
        store.create("alice", made)
        assert store.get("alice", made.id) == made
        state = store.state("alice", made.id)
        assert (state.model, state.version, state.classes, state.state, state.revision) == (
            made.model,
            made.version,
            made.classes,
            made.state,
            made.revision,
        )
        assert store.revision("alice", made.id) == made.revision
    assert [each.id for each in store.list("alice")] == sorted(each.id for each in store.list("alice"))
    assert store.count("alice") == 5


def test_what_is_stored_outlives_the_process_that_stored_it(url: str, open_store: Any) -> None:
    made, key = learner(), ""
    first = open_store(url)
    first.create("alice", made)
    key = first.add_key("alice")
    first.close()
    second = open_store(url, create=False)
    assert second.get("alice", made.id) == made
    assert second.tenant_of(key) == "alice"


def test_another_tenants_learner_is_not_there(store: Any) -> None:
    made = learner()
    store.create("alice", made)
    assert store.get("bob", made.id) is None
    assert store.state("bob", made.id) is None
    assert store.revision("bob", made.id) is None
    assert not store.replace("bob", dataclasses.replace(made, state=b"stolen"), made.revision)
    assert not store.delete("bob", made.id)
    assert store.list("bob") == []
    assert store.count("bob") == 0
    assert store.get("alice", made.id) == made
    store.create("bob", dataclasses.replace(made, state=b"bob's own"))  # not even that the id is taken can be seen
    assert store.get("alice", made.id) == made
    assert store.delete("bob", made.id)
    assert store.get("alice", made.id) == made
    assert (store.count("alice"), store.count("bob")) == (1, 0)


@pytest.mark.parametrize(
    "id",
    ["", "0" * 31, "0" * 33, "A" * 32, "\0" * 32, "\ud800" * 32, "' OR 1=1 --".ljust(32)],
    ids=["nothing", "short", "long", "capitals", "code 0", "halves of characters", "SQL"],
)
def test_what_is_no_id_is_not_there(store: Any, id: str) -> None:
    assert store.get("alice", id) is None
    assert store.state("alice", id) is None
    assert store.revision("alice", id) is None
    assert not store.delete("alice", id)


def test_a_change_of_another_revision_is_refused(store: Any) -> None:
    made = learner()
    store.create("alice", made)
    later = made.updated + timedelta(seconds=1)
    more = dataclasses.replace(made, classes=("ka", "ki", "ku"), counts=(2, 1, 1), state=b"more", updated=later)
    assert store.replace("alice", more, 0)
    assert store.get("alice", made.id) == dataclasses.replace(more, revision=1)
    assert not store.replace("alice", dataclasses.replace(made, state=b"late"), 0)
    assert not store.replace("alice", dataclasses.replace(made, state=b"early"), 2)
    assert store.get("alice", made.id) == dataclasses.replace(more, revision=1)
    assert store.replace("alice", dataclasses.replace(more, support=None), 1)
    assert store.get("alice", made.id).support is None
    assert store.delete("alice", made.id)
    assert not store.replace("alice", more, 2), "a deleted learner stays deleted"
    assert store.get("alice", made.id) is None


def test_threads_that_add_to_one_learner_lose_nothing(url: str, open_store: Any) -> None:
    """Two stores, as two processes would have, four threads each."""
    stores = [open_store(url, patience=60), open_store(url, patience=60)]
    made = learner(state=b"", support=b"")
    stores[0].create("alice", made)
    threads, additions = 8, 12
    at_once = threading.Barrier(threads)

    def add(thread: int) -> int:
        store, tries = stores[thread % 2], 0
        at_once.wait()
        for addition in range(additions):
            while True:
                tries += 1
                found = store.get("alice", made.id)
                grown = dataclasses.replace(found, support=found.support + bytes([thread, addition]))
                if store.replace("alice", grown, found.revision):
                    break
        return tries

    with ThreadPoolExecutor(threads) as pool:
        tries = sum(pool.map(add, range(threads)))
    found = stores[1].get("alice", made.id)
    pairs = {tuple(found.support[place : place + 2]) for place in range(0, len(found.support), 2)}
    assert pairs == {(thread, addition) for thread in range(threads) for addition in range(additions)}
    assert len(found.support) == 2 * threads * additions
    assert found.revision == threads * additions
    assert tries > threads * additions, "they never met: this test has shown nothing"


def test_a_quota_holds_however_many_ask_at_once(url: str, open_store: Any) -> None:
    stores = [open_store(url, patience=60), open_store(url, patience=60)]
    at_once = threading.Barrier(8)
    refusals: list[str] = []

    def add(thread: int) -> int:
        at_once.wait()
        stored = 0
        for _ in range(5):
            try:
                stores[thread % 2].create("alice", learner(), quota=17)
                stored += 1
            except StoreQuotaError as error:
                refusals.append(str(error))
        return stored

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(8))) == 17
    assert stores[0].count("alice") == len(stores[1].list("alice")) == 17
    assert len(refusals) == 40 - 17
    assert all("more than the 17 that may be kept" in refusal for refusal in refusals)


def test_a_tenants_own_quota_goes_before_the_servers(store: Any) -> None:
    store.set_quota("alice", 1)
    store.set_quota("bob", 2)
    first = learner()
    store.create("alice", first, quota=100)
    with pytest.raises(StoreQuotaError, match="more than the 1 that"):
        store.create("alice", learner(), quota=100)
    store.create("bob", learner(), quota=0)
    store.create("carol", learner())
    with pytest.raises(StoreQuotaError, match="more than the 1 that"):
        store.create("carol", learner(), quota=1)
    assert store.delete("alice", first.id)
    store.create("alice", learner())
    store.set_quota("alice", None)
    store.create("alice", learner())
    assert [(t.name, t.learners, t.quota) for t in store.tenants()] == [
        ("alice", 2, None),
        ("bob", 1, 2),
        ("carol", 1, None),
    ]


def test_an_id_that_is_taken_is_refused_and_not_counted(store: Any) -> None:
    made = learner()
    store.create("alice", made)
    with pytest.raises(StoreError, match="refused"):
        store.create("alice", dataclasses.replace(made, state=b"other"))
    assert store.get("alice", made.id) == made
    assert store.count("alice") == 1


def test_pages_of_a_list(store: Any) -> None:
    made = [learner(name=str(number)) for number in range(25)]
    for each in made:
        store.create("alice", each)
        store.create("bob", learner())
    seen, after = [], None
    while page := store.list("alice", after=after, limit=7):
        assert len(page) <= 7
        seen += page
        after = page[-1].id
    assert seen == sorted((each.summary for each in made), key=lambda each: each.id)


def test_learners_of_older_versions_are_found_page_by_page(store: Any) -> None:
    old = {}
    for tenant in ("alice", "bob"):
        for number in range(6):
            each = learner(version=f"old{number % 2}")
            old[(tenant, each.id)] = each.summary
            store.create(tenant, each)
        store.create(tenant, learner(version="new"))
        store.create(tenant, learner(model="other", version="old0"))
        store.create(tenant, learner(version="old0", support=None))
    shared = learner(version="old0")  # the same id of two tenants, at the edge of a page or not
    for tenant in ("alice", "bob"):
        store.create(tenant, shared)
        old[(tenant, shared.id)] = shared.summary
    seen, after = {}, None
    while page := store.outdated("omniglot", "new", limit=3, after=after):
        assert len(page) <= 3
        for tenant, summary in page:
            assert (tenant, summary.id) not in seen
            seen[(tenant, summary.id)] = summary
        after = (page[-1][0], page[-1][1].id)
    assert seen == old


def test_odd_values_are_refused_before_the_database_sees_them(store: Any) -> None:
    for tenant in ("", "a b", "ä", "-a", "x" * 65, "a\0"):
        with pytest.raises(SettingsError, match="cannot name a tenant"):
            store.create(tenant, learner())
        with pytest.raises(SettingsError, match="cannot name a tenant"):
            store.add_key(tenant)
    with pytest.raises(SettingsError, match="character of code 0"):
        learner(name="a\0b")
    with pytest.raises(SettingsError, match="half a character"):
        learner(classes=("\ud800", "b"))
    with pytest.raises(SettingsError, match="got 1 counts for 2 classes"):
        learner(counts=(1,))
    with pytest.raises(SettingsError, match="is no id of a learner"):
        learner(id="1")


def test_nothing_of_an_example_is_in_the_text_of_a_record() -> None:
    assert "secret" not in repr(learner(state=b"secret", support=b"secret"))


def test_a_store_of_a_newer_version_is_refused(url: str, open_store: Any) -> None:
    store = open_store(url)
    made = learner()
    store.create("alice", made)
    store._work.write(lambda c, again: c.execute(schema.schema.update().values(version=schema.SCHEMA + 1)))
    store.close()
    with pytest.raises(StoreError, match=rf"of version {schema.SCHEMA + 1}, and this quickstudy knows {schema.SCHEMA}"):
        open_store(url)


def test_a_store_of_an_older_version_is_brought_up_to_date(
    url: str, open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner()
    store = open_store(url)
    store.create("alice", made)
    store.close()

    def rename(connection: Any) -> None:
        connection.execute(schema.learners.update().values(model="renamed"))

    def fail(connection: Any) -> None:
        rename(connection)
        raise RuntimeError("half-way")

    monkeypatch.setattr(schema, "SCHEMA", schema.SCHEMA + 1)
    monkeypatch.setitem(schema.MIGRATIONS, schema.SCHEMA - 1, fail)
    with pytest.raises(RuntimeError, match="half-way"):
        open_store(url)
    monkeypatch.setitem(schema.MIGRATIONS, schema.SCHEMA - 1, lambda connection: None)
    again = open_store(url)
    assert again.get("alice", made.id) == made, "what failed half-way has left nothing behind"
    open_store(url)  # and is not done twice
    assert again._work.read(lambda c: c.execute(schema.schema.select()).scalar_one()) == schema.SCHEMA


def test_opening_at_the_same_time_makes_one_set_of_tables(url: str, open_store: Any) -> None:
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: open_store(url, patience=60), range(6)))
    made = learner()
    stores[0].create("alice", made)
    assert all(store.get("alice", made.id) == made for store in stores)
    rows = stores[0]._work.read(lambda c: c.execute(schema.schema.select()).all())
    assert len(rows) == 1


def test_a_file_that_is_not_there_is_not_made_unasked(tmp_path: Path, open_store: Any) -> None:
    with pytest.raises(StoreUnreachableError, match=r"there is no database .*none\.db"):
        open_store(tmp_path / "none.db", create=False)
    assert not (tmp_path / "none.db").exists()


def test_tables_that_are_not_there_are_not_made_unasked(url: str, open_store: Any) -> None:
    Path(url.removeprefix("sqlite:///")).touch() if url.startswith("sqlite") else None
    for _ in range(2):
        with pytest.raises(StoreError, match="has no tables of learners"):
            open_store(url, create=False)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://root:hush@localhost/x", "got a database of kind 'mysql'"),
        ("postgresql://u:hush@[::1/x", "cannot be understood"),
        ("sqlite://", "in memory alone"),
        ("sqlite:///:memory:", "in memory alone"),
    ],
)
def test_addresses_that_cannot_be_used(url: str, says: str, open_store: Any) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        open_store(url)
    assert "hush" not in str(caught.value)


def test_a_database_is_its_owners_alone(tmp_path: Path, open_store: Any) -> None:
    store = open_store(tmp_path / "deep" / "learners.db")
    store.create("alice", learner())
    for path in (tmp_path / "deep").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize(("kind", "other"), [("sqlite", "sqlite"), ("sqlite", "postgresql"), ("postgresql", "sqlite")])
def test_a_copy_is_the_same_in_another_database(kind: str, other: str, new_url: Any, open_store: Any) -> None:
    source, target = open_store(new_url(kind)), open_store(new_url(other))
    made = [learner(), learner(support=None, revision=3), learner(name=ODD, state=os.urandom(100_000))]
    for each in made:
        source.create("alice", each)
    key, gone = source.add_key("alice"), source.add_key("bob")
    source.revoke(gone.split("_")[1])
    source.set_quota("bob", 5)
    copied = source.copy(target)
    assert (copied.tenants, copied.keys, copied.learners, copied.damaged) == (2, 2, 3, ())
    assert [target.get("alice", each.id) for each in made] == made
    assert target.tenants() == source.tenants()
    assert target.keys() == source.keys()
    assert (target.tenant_of(key), target.tenant_of(gone)) == ("alice", None)
    with pytest.raises(StoreError, match="holds tenants already"):
        source.copy(target)
    assert target.check().learners == 3


def test_a_store_can_be_asked_whether_it_answers(store: Any) -> None:
    store.ping()


def test_ids_are_drawn_anew() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
