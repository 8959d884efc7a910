"""Keys: the right one opens, and nothing else, at the same cost."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")

from quickstudy.serve import keys
from quickstudy.serve.keys import VerifiedKeys, keep, key_id, make, proves


def altered(key: str) -> str:
    """The key with its last digit changed."""
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def test_keys_open_for_their_tenant_alone(store: Any) -> None:
    alice, bob = store.add_key("alice"), store.add_key("bob")
    for _ in range(2):  # the second time from memory
        assert (store.tenant_of(alice), store.tenant_of(bob)) == ("alice", "bob")
    assert store.tenant_of(altered(alice)) is None
    swapped = alice[: alice.rindex("_")] + bob[bob.rindex("_") :]
    assert store.tenant_of(swapped) is None
    assert store.tenant_of(make()) is None


@pytest.mark.parametrize(
    "text",
    ["", "qs_", "Bearer", "qs__", "\0", "\ud800", "qs_" + "g" * 16 + "_" + "0" * 64, "x" * 10**6],
    ids=[
        "nothing",
        "its head",
        "a word",
        "its bones",
        "code 0",
        "half a character",
        "other letters",
        "a million letters",
    ],
)
def test_what_has_not_the_form_of_a_key_opens_nothing(store: Any, text: str) -> None:
    assert store.tenant_of(text) is None


def test_a_key_has_256_random_bits_and_they_are_not_stored(store: Any) -> None:
    made = {store.add_key("alice") for _ in range(50)}
    assert len({key[-64:] for key in made}) == len({key_id(key) for key in made}) == 50
    from quickstudy.serve import schema

    rows = store._work.read(lambda connection: connection.execute(schema.keys.select()).all())
    stored = " ".join(repr(tuple(row)) for row in rows)
    for key in made:
        assert re.fullmatch("qs_[0-9a-f]{16}_[0-9a-f]{64}", key)
        assert key[-64:] not in stored
        assert bytes.fromhex(key[-64:]).hex() not in "".join(row.digest.hex() + row.salt.hex() for row in rows)
    assert len({row.salt for row in rows}) == 50


def test_a_revoked_key_opens_nothing_at_once_here_and_in_seconds_elsewhere(url: str, open_store: Any) -> None:
    here, elsewhere = open_store(url), open_store(url)
    now = [0.0]
    elsewhere._verified = VerifiedKeys(clock=lambda: now[0])
    key, other = here.add_key("alice"), here.add_key("alice")
    assert [store.tenant_of(key) for store in (here, elsewhere)] == ["alice", "alice"]
    assert here.revoke(key_id(key))
    assert not here.revoke(key_id(key))
    assert not here.revoke("unknown")
    assert here.tenant_of(key) is None
    now[0] = 4.9
    assert elsewhere.tenant_of(key) == "alice", "within five seconds it may still be believed"
    now[0] = 5.0
    assert elsewhere.tenant_of(key) is None
    assert (here.tenant_of(other), elsewhere.tenant_of(other)) == ("alice", "alice")
    shown = {each.id: each.revoked is not None for each in here.keys("alice")}
    assert shown == {key_id(key): True, key_id(other): False}
    assert here.keys("bob") == []


def test_wrong_and_unknown_keys_cost_the_same(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many queries of the same form, hashes of as many bytes, and comparisons of as many bytes."""
    key, revoked = store.add_key("alice"), store.add_key("alice")
    store.revoke(key_id(revoked))
    work: list[Any] = []
    counted, compared, read = keys.checksum, keys.hmac.compare_digest, store._work.read

    def checksum(*parts: Any) -> bytes:
        work.append(("hash", sum(map(len, parts))))
        return counted(*parts)

    def compare(one: bytes, other: bytes) -> bool:
        work.append(("compare", len(one), len(other)))
        return compared(one, other)

    def ask(query: Any) -> Any:
        work.append("query")
        return read(query)

    monkeypatch.setattr(keys, "checksum", checksum)
    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    monkeypatch.setattr(store._work, "read", ask)
    costs = []
    for wrong in (altered(key), make(), revoked):
        work.clear()
        assert store.tenant_of(wrong) is None
        costs.append([(step[0], step[1] // 8) if step[0] == "hash" else step for step in work])
    assert costs[0] == costs[1] == costs[2]
    assert costs[0][0] == "query"
    assert costs[0][-1] == ("compare", 32, 32)


def test_a_row_altered_to_name_another_tenant_proves_nothing() -> None:
    key = make()
    kept = keep(key, "alice")
    assert proves(key, kept)
    assert not proves(key, kept._replace(tenant="bob"))
    assert not proves(key, kept._replace(revoked=True))
    assert not proves(key, None)


def test_the_memory_of_right_keys_is_bounded_and_holds_no_key() -> None:
    seen = VerifiedKeys(most=3)
    made = [make() for _ in range(5)]
    for number, key in enumerate(made):
        seen.add(key, str(number))
        seen.tenant_of(made[0])  # used, so it stays
    assert [seen.tenant_of(key) for key in made] == ["0", None, None, "3", "4"]
    assert not any(key[-64:] in repr(vars(seen)) for key in made)
