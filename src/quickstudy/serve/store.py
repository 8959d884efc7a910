"""The store: every tenant's learners and keys, in SQLite or PostgreSQL through the same code.

What a method returns from is on the disk. A method that raises has changed nothing, but where it says that the database
could not be reached: then the change may or may not have happened, as whenever an answer is lost.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import sqlalchemy
from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, bindparam, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from quickstudy.errors import StoreError, StoreQuotaError
from quickstudy.serve import keys as keying
from quickstudy.serve.copying import Copied, check, copy
from quickstudy.serve.database import address, check_whole, connect
from quickstudy.serve.records import (
    KeyRecord,
    LearnerRecord,
    LearnerState,
    LearnerSummary,
    TenantRecord,
    check_tenant,
    from_ticks,
    is_id,
    now,
    ticks,
)
from quickstudy.serve.rows import HEAD, record_of, row_of, state_of, summary_of
from quickstudy.serve.schema import keys, learners, prepare, tenants
from quickstudy.serve.transactions import Transactions

__all__ = ["Store"]


# Made once: putting a statement together takes longer than the database does to carry it out.
_OWN = sqlalchemy.and_(learners.c.tenant == bindparam("of"), learners.c.id == bindparam("own"))
_REVISION = select(learners.c.revision).where(_OWN)
_STATE = select(*HEAD, learners.c.state).where(_OWN)
_WHOLE = select(*HEAD, learners.c.state, learners.c.support).where(_OWN)
_INSERT = learners.insert()
_MORE = tenants.update().where(tenants.c.name == bindparam("of")).values(learners=tenants.c.learners + 1)
_ONE_MORE = _MORE.where(sqlalchemy.or_(tenants.c.quota.is_(None), tenants.c.learners < tenants.c.quota))
_ONE_MORE_BELOW = _MORE.where(tenants.c.learners < func.coalesce(tenants.c.quota, bindparam("most")))


class Store:
    """Learners by tenant and id. One store may be used from many threads, one database by many stores.

    Every query names the tenant. What belongs to another is not there: it is found in the same time, and answered in
    the same way, as what does not exist.
    """

    def __init__(self, engine: Engine, patience: float) -> None:
        self._work = Transactions(engine, patience)
        self._verified = keying.VerifiedKeys()

    @classmethod
    def open(cls, url: str | os.PathLike[str], *, patience: float = 5.0, create: bool = True) -> Self:
        """Open a database, and make its tables where there are none.

        Args:
            url: The path of an SQLite file, sqlite:///PATH, or postgresql://USER@HOST/DATABASE.
            patience: Seconds to wait for a lock, and to try again while PostgreSQL restarts.
            create: Whether file and tables are made where there are none; otherwise that is an error.

        Raises:
            SettingsError: an address of another kind.
            ExtraError: PostgreSQL without the extra `postgres`.
            StoreError: it cannot be reached, is damaged, or was written by a newer quickstudy.
        """
        store = cls(connect(address(url), patience, create), patience)
        try:
            store._work.read(lambda connection: check_whole(connection, store._work.where))
            store._work.write(lambda connection, again: prepare(connection, create))
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close every connection. Work that is under way ends first, on its own."""
        self._work.close()

    def ping(self) -> None:
        """Raises:
        StoreError: the database does not answer.
        """
        self._work.read(lambda connection: connection.execute(select(1)).scalar_one())

    def copy(self, target: Store) -> Copied:
        """Copy all there is, as it was at one moment, into an empty store: all of it or nothing.

        Raises:
            StoreError: the target is not empty, or one of the two cannot do its part.
        """
        return copy(self._work, target._work)

    def check(self) -> Copied:
        """Read every learner of every tenant and compare it with its checksums.

        Raises:
            StoreError: the database cannot be read.
        """
        return check(self._work)

    # Learners

    def create(self, tenant: str, record: LearnerRecord, quota: int | None = None) -> None:
        """Store a new learner as it is given.

        Args:
            tenant: Whose it is; a tenant not seen before is made.
            record: Its id must be new.
            quota: The most learners this tenant may have, where it has no quota of its own; None: any number.

        Raises:
            StoreQuotaError: the tenant has as many as it may. However many ask at once, none is stored beyond.
            StoreError: it could not be stored.
        """
        row = row_of(check_tenant(tenant), record, record.revision)

        def work(connection: Connection, again: bool) -> None:
            if again and _token(connection, tenant, record.id) == row["token"]:
                return  # the answer to an earlier try was lost, not the learner
            if not _count_one(connection, tenant, quota):
                _make_tenant(connection, tenant)
                if not _count_one(connection, tenant, quota):
                    raise _over_quota(connection, tenant, quota)
            connection.execute(_INSERT, row)

        self._work.write(work)

    def get(self, tenant: str, id: str) -> LearnerRecord | None:
        """The learner with all that belongs to it; None where this tenant has none of this id.

        Raises:
            StoreDamagedError: what is stored is not what was written.
        """
        row = self._row(tenant, id, _WHOLE)
        return None if row is None else record_of(row)

    def state(self, tenant: str, id: str) -> LearnerState | None:
        """What it takes to answer a query, without reading the support examples; None where there is no such learner.

        Raises:
            StoreDamagedError: what is stored is not what was written.
        """
        row = self._row(tenant, id, _STATE)
        return None if row is None else state_of(row)

    def revision(self, tenant: str, id: str) -> int | None:
        """The revision of a learner, by which whoever remembers its state sees whether that is still it."""
        if not is_id(id):
            return None
        of = {"of": tenant, "own": id}
        found: int | None = self._work.read(lambda connection: connection.execute(_REVISION, of).scalar())
        return found

    def replace(self, tenant: str, record: LearnerRecord, expected_revision: int) -> bool:
        """Put a changed learner in the place of the one it was made from.

        Args:
            tenant: Whose it is.
            record: The learner after the change. It is stored with the revision after `expected_revision`.
            expected_revision: The revision that was changed.

        Returns:
            Whether it was that revision still. If not, nothing was written: get the learner again, and change that.
        """
        row = row_of(tenant, record, expected_revision + 1)
        change = (
            sqlalchemy.update(learners)
            .where(_own(tenant, record.id), learners.c.revision == expected_revision)
            .values(**{name: value for name, value in row.items() if name not in ("tenant", "id")})
        )

        def work(connection: Connection, again: bool) -> bool:
            done = connection.execute(change).rowcount == 1
            return done or (again and _token(connection, tenant, record.id) == row["token"])

        return self._work.write(work)

    def delete(self, tenant: str, id: str) -> bool:
        """Delete a learner; False where this tenant has none of this id."""
        if not is_id(id):
            return False
        seen = False

        def work(connection: Connection, again: bool) -> bool:
            nonlocal seen
            gone = connection.execute(sqlalchemy.delete(learners).where(_own(tenant, id))).rowcount == 1
            if gone:
                fewer = tenants.update().where(tenants.c.name == tenant).values(learners=tenants.c.learners - 1)
                connection.execute(fewer)
                seen = True
            return gone or (again and seen)

        return self._work.write(work)

    def list(self, tenant: str, after: str | None = None, limit: int = 100) -> Sequence[LearnerSummary]:
        """A tenant's learners in the order of their ids.

        Args:
            tenant: Whose.
            after: The last id of the page before; None for the first page.
            limit: The most to give.
        """
        query = select(*HEAD).where(learners.c.tenant == tenant, learners.c.id > (after or ""))
        rows = self._work.read(lambda connection: connection.execute(query.order_by(learners.c.id).limit(limit)).all())
        return [summary_of(row) for row in rows]

    def count(self, tenant: str) -> int:
        """How many learners a tenant has."""
        query = select(tenants.c.learners).where(tenants.c.name == tenant)
        found: int | None = self._work.read(lambda connection: connection.execute(query).scalar())
        return found or 0

    def outdated(
        self, model: str, version: str, limit: int = 100, after: tuple[str, str] | None = None
    ) -> Sequence[tuple[str, LearnerSummary]]:
        """Learners of a model that were adapted from another version of it and have kept their support, of all tenants.

        Args:
            model: The name of the bundle.
            version: Its newest version.
            limit: The most to give.
            after: Tenant and id of the last one of the page before; None for the first page.

        Returns:
            The tenant and the learner, in the order of tenants and ids.
        """
        query = select(*HEAD).where(learners.c.model == model, learners.c.version != version, learners.c.kept == 1)
        if after is not None:
            query = query.where(tuple_(learners.c.tenant, learners.c.id) > tuple_(*after))
        query = query.order_by(learners.c.tenant, learners.c.id).limit(limit)
        rows = self._work.read(lambda connection: connection.execute(query).all())
        return [(row.tenant, summary_of(row)) for row in rows]

    # Tenants and keys

    def add_key(self, tenant: str) -> str:
        """A new key for a tenant, who is made where there is none. It is given this once: only its hash is stored.

        Raises:
            SettingsError: that cannot name a tenant.
        """
        key = keying.make()
        kept = keying.keep(key, check_tenant(tenant))
        row = {"id": kept.id, "tenant": tenant, "salt": kept.salt, "digest": kept.digest, "created": ticks(now())}

        def work(connection: Connection, again: bool) -> None:
            _make_tenant(connection, tenant)
            connection.execute(_insert(connection, keys).values(**row).on_conflict_do_nothing())

        self._work.write(work)
        return key

    def tenant_of(self, key: str) -> str | None:
        """The tenant that a key belongs to; None where it is wrong, unknown or revoked, all in the same time.

        A key that was right is believed for five seconds more, so that is how long other processes may take to see that
        it was revoked.
        """
        own = keying.key_id(key)
        if own is None:
            return None
        if tenant := self._verified.tenant_of(key):
            return tenant
        query = select(keys.c.id, keys.c.tenant, keys.c.salt, keys.c.digest, keys.c.revoked).where(keys.c.id == own)
        row = self._work.read(lambda connection: connection.execute(query).first())
        kept = None if row is None else keying.Kept(row.id, row.tenant, row.salt, row.digest, row.revoked is not None)
        if not keying.proves(key, kept) or kept is None:
            return None
        self._verified.add(key, kept.tenant)
        return kept.tenant

    def revoke(self, own: str) -> bool:
        """Revoke a key by its id, the part that `keys` shows; False where there is no such key, or it was revoked."""
        seen = False

        def work(connection: Connection, again: bool) -> bool:
            nonlocal seen
            end = keys.update().where(keys.c.id == own, keys.c.revoked.is_(None)).values(revoked=ticks(now()))
            done = connection.execute(end).rowcount == 1
            seen = seen or done
            return done or (again and seen)

        done = self._work.write(work)
        self._verified.forget(own)
        return done

    def keys(self, tenant: str | None = None) -> Sequence[KeyRecord]:
        """Every key of a tenant, or of all; revoked ones too."""
        query = select(keys).order_by(keys.c.tenant, keys.c.created, keys.c.id)
        if tenant is not None:
            query = query.where(keys.c.tenant == tenant)
        rows = self._work.read(lambda connection: connection.execute(query).all())
        return [
            KeyRecord(
                row.id,
                row.tenant,
                from_ticks(row.created),
                None if row.revoked is None else from_ticks(row.revoked),
            )
            for row in rows
        ]

    def tenants(self) -> Sequence[TenantRecord]:
        """Every tenant."""
        rows = self._work.read(lambda connection: connection.execute(select(tenants).order_by(tenants.c.name)).all())
        return [TenantRecord(row.name, row.learners, row.quota, from_ticks(row.created)) for row in rows]

    def set_quota(self, tenant: str, quota: int | None) -> None:
        """Bound a tenant's learners, whatever the server allows others; None: as others. Those there are stay."""
        check_tenant(tenant)

        def work(connection: Connection, again: bool) -> None:
            _make_tenant(connection, tenant)
            connection.execute(tenants.update().where(tenants.c.name == tenant).values(quota=quota))

        self._work.write(work)

    def _row(self, tenant: str, id: str, query: Select[Any]) -> Row[Any] | None:
        if not is_id(id):
            return None
        of = {"of": tenant, "own": id}
        return self._work.read(lambda connection: connection.execute(query, of).first())


def _own(tenant: str, id: str) -> ColumnElement[bool]:
    return sqlalchemy.and_(learners.c.tenant == tenant, learners.c.id == id)


def _token(connection: Connection, tenant: str, id: str) -> bytes | None:
    found: bytes | None = connection.execute(select(learners.c.token).where(_own(tenant, id))).scalar()
    return found


def _insert(connection: Connection, table: sqlalchemy.Table) -> Any:
    return (sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert)(table)


def _make_tenant(connection: Connection, tenant: str) -> None:
    row = {"name": tenant, "learners": 0, "created": ticks(now())}
    connection.execute(_insert(connection, tenants).values(**row).on_conflict_do_nothing())


def _count_one(connection: Connection, tenant: str, quota: int | None) -> bool:
    """Count one learner more, unless there are as many as may be: looking and counting are one statement."""
    if quota is None:
        return connection.execute(_ONE_MORE, {"of": tenant}).rowcount == 1
    return connection.execute(_ONE_MORE_BELOW, {"of": tenant, "most": quota}).rowcount == 1


def _over_quota(connection: Connection, tenant: str, quota: int | None) -> StoreError:
    own = connection.execute(select(tenants.c.quota).where(tenants.c.name == tenant)).scalar()
    most = quota if own is None else own
    return StoreQuotaError(
        f"got one learner more than the {most} that may be kept. Delete some that are not needed, or ask whoever runs "
        "the server for more."
    )
