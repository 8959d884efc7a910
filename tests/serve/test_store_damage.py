"""A damaged database: refused, or every answer is right or says that it is damaged."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from quickstudy.errors import StoreDamagedError, StoreError, StoreUnreachableError
from quickstudy.serve.records import LearnerRecord
from serve.learners import learner

pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")

from quickstudy.serve.store import Store


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[LearnerRecord]]:
    """A closed SQLite file, and what is in it."""
    path = tmp_path_factory.mktemp("healthy") / "learners.db"
    chance = random.Random(0)
    with closing(Store.open(path)) as store:
        made = [
            learner(id=f"{chance.getrandbits(128):032x}", state=chance.randbytes(size), support=chance.randbytes(size))
            for size in (10, 100, 1000, 3000, 9000, 20_000) * 3
        ]
        for each in made:
            store.create("alice", each)
    return path, made


def flip(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_in_the_head(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(4096)] ^= 1 << chance.randrange(8)


def blank_a_page(content: bytearray, chance: random.Random) -> None:
    place = 4096 * chance.randrange(len(content) // 4096)
    content[place : place + 4096] = bytes(4096)


def swap_pages(content: bytearray, chance: random.Random) -> None:
    one, other = (4096 * chance.randrange(len(content) // 4096) for _ in range(2))
    kept = content[one : one + 4096]
    content[one : one + 4096] = content[other : other + 4096]
    content[other : other + 4096] = kept


def scribble(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content) - 64)
    content[place : place + 64] = chance.randbytes(64)


def cut_off(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


DAMAGES = (flip, flip_in_the_head, blank_a_page, swap_pages, scribble, cut_off)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_no_answer_from_a_damaged_file_is_wrong(
    damage: Any, healthy: tuple[Path, list[LearnerRecord]], tmp_path: Path
) -> None:
    """Refused at the start, or else every learner answers as before or says that it is damaged."""
    path, made = healthy
    chance = random.Random(damage.__name__)
    said: list[str] = []
    for trial in range(25):
        content = bytearray(path.read_bytes())
        damage(content, chance)
        file = tmp_path / f"{trial}.db"
        file.write_bytes(content)
        try:
            store = Store.open(file, create=False)
        except StoreError as error:
            said.append(str(error))
            continue
        with closing(store):
            for each in made:
                try:
                    assert store.get("alice", each.id) == each
                except StoreDamagedError as error:
                    said.append(str(error))
    assert said, "the damage was never seen: this test has shown nothing"
    assert all(message.startswith(("the database", "there is no")) and message.endswith(".") for message in said)


def test_damage_while_it_runs_is_seen_by_whoever_reads_it(
    healthy: tuple[Path, list[LearnerRecord]], tmp_path: Path
) -> None:
    path, made = healthy
    file = tmp_path / "learners.db"
    shutil.copy(path, file)
    with closing(Store.open(file)) as store:
        victim = made[-1]
        place = file.read_bytes().index(victim.state[10_000:10_050])
        with file.open("r+b") as opened:
            opened.seek(place)
            opened.write(b"damage")
        store._work._engine.dispose()  # pages remembered by a connection would hide it
        with pytest.raises(StoreDamagedError, match=f"learner {victim.id} is not what was written"):
            store.state("alice", victim.id)
        with pytest.raises(StoreDamagedError, match=f"learner {victim.id} is not what was written"):
            store.get("alice", victim.id)
        assert [store.get("alice", each.id) for each in made[:-1]] == made[:-1]
        checked = store.check()
        assert checked.damaged == (("alice", victim.id),)
        with closing(Store.open(tmp_path / "saved.db")) as saved:
            assert store.copy(saved) == checked
            assert saved.count("alice") == len(made) - 1
        assert store.delete("alice", victim.id), "a damaged learner can be deleted"
        assert store.check().damaged == ()


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is not the database that you are looking for. " * 50)
    with pytest.raises(StoreDamagedError, match="is damaged: file is not a database"):
        Store.open(tmp_path / "text.db")
    with pytest.raises(StoreUnreachableError, match=r"is a directory|cannot be opened"):
        Store.open(tmp_path)


def test_rows_changed_behind_its_back_are_damage_on_either_database(store: Any) -> None:
    from quickstudy.serve.schema import learners

    one, other = learner(state=b"one"), learner(state=b"other")
    for change in (
        {"state": b"another"},
        {"support": None},
        {"support": b"x"},
        {"classes": '["ki", "ka"]'},
        {"version": "000000000000"},
        {"kept": 0},
        {"revision": 1},
        {"sums": b""},
        {"tenant": "bob"},
        {"id": other.id},
    ):
        made = learner()
        store.create("alice", made)
        store.add_key("bob")
        here = learners.c.id == made.id
        store._work.write(lambda c, again: c.execute(learners.update().where(here).values(**change)))  # noqa: B023
        tenant, id = change.get("tenant", "alice"), change.get("id", made.id)
        with pytest.raises(StoreDamagedError, match="is not what was written"):
            store.get(tenant, id)
        store.delete(tenant, id) if tenant == "alice" else None
    assert one.id != other.id
