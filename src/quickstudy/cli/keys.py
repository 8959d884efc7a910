"""`quickstudy keys`: who may use a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from quickstudy.cli import screen
from quickstudy.cli.screen import Switch
from quickstudy.core.extras import extra
from quickstudy.errors import SettingsError

if TYPE_CHECKING:
    from quickstudy.serve.store import Store

__all__ = ["DATABASE", "Database", "app", "opened"]

EXAMPLES = """\
Examples:
  quickstudy keys add alice
  quickstudy keys add alice --learners 500
  quickstudy keys list
  quickstudy keys revoke 5f2c0d6a1b7e4398
  quickstudy keys add alice --db postgresql://serve@localhost/learners
"""

DATABASE = "sqlite:///learners.db"
"""The database of a server that is not told of another."""

Database = Annotated[str, Parameter(env_var="QUICKSTUDY_DB")]


def app(order: int) -> App:
    """The commands on keys, one group, at this place among all commands."""
    made = App(
        name="keys", help="Add, list and revoke the keys of a server's tenants.", help_epilogue=EXAMPLES, sort_key=order
    )
    made.command(add, help_epilogue=EXAMPLES)
    made.command(list_, name="list", help_epilogue=EXAMPLES)
    made.command(revoke, help_epilogue=EXAMPLES)
    return made


def add(tenant: str, /, *, db: Database = DATABASE, learners: int | None = None) -> int:
    """Make a key for a tenant, and print it on standard output. It is shown this once; only a hash of it is kept.

    Args:
        tenant: Whose learners the key opens: letters, digits and . _ @ -. One that is new is made.
        db: The server's database.
        learners: The most learners this tenant may have, from now on; without, what the server allows everybody.
    """
    if learners is not None and learners < 0:
        raise SettingsError(f"--learners {learners} is below zero. Give the most learners {tenant} may have.")
    with opened(db, create=True) as store:
        key = store.add_key(tenant)
        if learners is not None:
            store.set_quota(tenant, learners)
    screen.say(key)
    screen.warn(f"Give it to {tenant} now: it cannot be shown again. Requests carry it as `Authorization: Bearer KEY`.")
    return 0


def list_(*, db: Database = DATABASE, tenant: str | None = None, json: Switch = False) -> int:
    """Show every key by its id, with its tenant: never the key itself, which nobody but its owner has.

    Args:
        db: The server's database.
        tenant: Of this tenant alone.
        json: Print JSON.
    """
    with opened(db, create=False) as store:
        found = store.keys(tenant)
        owners = {owner.name: owner for owner in store.tenants()}
    if json:
        screen.json_out(
            [
                {
                    "id": key.id,
                    "tenant": key.tenant,
                    "created": key.created.isoformat(),
                    "revoked": key.revoked and key.revoked.isoformat(),
                    "learners": owners[key.tenant].learners,
                    "quota": owners[key.tenant].quota,
                }
                for key in found
            ]
        )
        return 0
    if not found:
        screen.say(f"No keys{f' of {tenant}' if tenant else ''}. `quickstudy keys add TENANT` makes one.")
        return 0
    rows = []
    for key in found:
        owner = owners[key.tenant]
        has = f"{owner.learners}{'' if owner.quota is None else f' of {owner.quota}'}"
        state = f"revoked {key.revoked:%Y-%m-%d %H:%M}" if key.revoked else "valid"
        rows.append([key.id, key.tenant, f"{key.created:%Y-%m-%d %H:%M}", state, has])
    screen.table(["Key", "Tenant", "Made (UTC)", "State", "Tenant's learners"], rows, right=[4])
    return 0


def revoke(key: str, /, *, db: Database = DATABASE) -> int:
    """Revoke a key. Running servers refuse it within five seconds. The tenant's learners stay.

    Args:
        key: Its id, as `quickstudy keys list` shows it, or the whole key.
        db: The server's database.
    """
    extra("sqlalchemy", "serve")
    from quickstudy.serve.keys import key_id

    own = key_id(key) or key
    with opened(db, create=False) as store:
        if not store.revoke(own):
            raise SettingsError(
                f"no valid key has the id {own[:40]!r}. `quickstudy keys list` shows those that there are."
            )
    screen.say(f"Revoked {own}. Running servers refuse it within five seconds.")
    return 0


@contextmanager
def opened(db: str, *, create: bool) -> Iterator[Store]:
    """The store at this address, made where there is none if `create`, for the length of a `with` block."""
    extra("sqlalchemy", "serve")
    from quickstudy.serve.store import Store

    with closing(Store.open(db, create=create)) as store:
        yield store
