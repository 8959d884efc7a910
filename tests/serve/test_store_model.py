"""Any run of operations leaves a store as it leaves a dictionary."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from quickstudy.errors import StoreError, StoreQuotaError
from quickstudy.serve.records import LearnerRecord
from serve.learners import learner

pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")

QUOTA = 4
IDS = [f"{number:032x}" for number in range(6)]
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
owners = st.sampled_from(["alice", "bob"])
ids = st.sampled_from(IDS)
records = st.builds(
    lambda id, name, version, classes, state, support: learner(
        id=id,
        name=name,
        version=version,
        classes=tuple(classes),
        counts=(1,) * len(classes),
        state=state,
        support=support,
    ),
    id=ids,
    name=texts,
    version=st.sampled_from(["one", "two"]),
    classes=st.lists(texts, max_size=3),
    state=st.binary(max_size=40),
    support=st.none() | st.binary(max_size=40),
)
runs = itertools.count()


class Machine(RuleBasedStateMachine):
    """Operations on a store and on a dictionary side by side; every run has tenants of its own."""

    def __init__(self, store: Any) -> None:
        super().__init__()
        self.store = store
        self.model: dict[tuple[str, str], LearnerRecord] = {}

    @initialize()
    def begin(self) -> None:
        self.run = next(runs)

    def tenant(self, owner: str) -> str:
        return f"{owner}.{self.run}"

    @rule(owner=owners, record=records)
    def create(self, owner: str, record: LearnerRecord) -> None:
        own = sum(name == owner for name, _ in self.model)
        if (owner, record.id) in self.model or own >= QUOTA:
            with pytest.raises(StoreQuotaError if own >= QUOTA else StoreError):
                self.store.create(self.tenant(owner), record, quota=QUOTA)
        else:
            self.store.create(self.tenant(owner), record, quota=QUOTA)
            self.model[owner, record.id] = record

    @rule(owner=owners, record=records, revision=st.integers(0, 3))
    def replace(self, owner: str, record: LearnerRecord, revision: int) -> None:
        known = self.model.get((owner, record.id))
        expected = known is not None and known.revision == revision
        assert self.store.replace(self.tenant(owner), record, revision) == expected
        if expected:
            self.model[owner, record.id] = dataclasses.replace(record, revision=revision + 1)

    @rule(owner=owners, id=ids)
    def delete(self, owner: str, id: str) -> None:
        assert self.store.delete(self.tenant(owner), id) == (self.model.pop((owner, id), None) is not None)

    @rule(owner=owners, id=ids)
    def get(self, owner: str, id: str) -> None:
        known = self.model.get((owner, id))
        assert self.store.get(self.tenant(owner), id) == known
        assert self.store.revision(self.tenant(owner), id) == (known and known.revision)
        state = self.store.state(self.tenant(owner), id)
        assert (state and (state.classes, state.state)) == (known and (known.classes, known.state))

    @rule(owner=owners, after=st.none() | ids, limit=st.integers(1, 4))
    def list(self, owner: str, after: str | None, limit: int) -> None:
        known = [self.model[key].summary for key in sorted(self.model) if key[0] == owner and key[1] > (after or "")]
        assert self.store.list(self.tenant(owner), after, limit) == known[:limit]

    @rule(version=st.sampled_from(["one", "two"]))
    def outdated(self, version: str) -> None:
        known = [
            (self.tenant(owner), record.id)
            for (owner, _), record in sorted(self.model.items())
            if record.version != version and record.support is not None
        ]
        found = self.store.outdated("omniglot", version, limit=10**6)
        mine = {self.tenant(owner) for owner in ("alice", "bob")}
        assert [(tenant, summary.id) for tenant, summary in found if tenant in mine] == known

    @invariant()
    def counts(self) -> None:
        for owner in ("alice", "bob"):
            assert self.store.count(self.tenant(owner)) == sum(name == owner for name, _ in self.model)


def test_a_store_is_a_dictionary(store: Any) -> None:
    steady = settings(max_examples=15, stateful_step_count=30, deadline=None, derandomize=True)
    run_state_machine_as_test(lambda: Machine(store), settings=steady)
