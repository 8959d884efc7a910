"""What the server keeps: learners, and what is known of tenants and keys. Nothing here knows of databases."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from quickstudy.errors import SettingsError

__all__ = [
    "KeyRecord",
    "LearnerRecord",
    "LearnerState",
    "LearnerSummary",
    "TenantRecord",
    "check_tenant",
    "checksum",
    "from_ticks",
    "is_id",
    "new_id",
    "now",
    "ticks",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ID = re.compile(r"[0-9a-f]{32}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def new_id() -> str:
    """The id of a new learner: 128 random bits in 32 hexadecimal digits."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Whether the text has the form of a learner's id."""
    return _ID.fullmatch(text) is not None


def now() -> datetime:
    """The time in UTC, with microseconds."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class LearnerSummary:
    """A learner without its contents, as lists show it."""

    id: str
    name: str
    model: str
    version: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """Examples of each class."""
    kept: bool
    """Whether the support examples are kept."""
    revision: int
    created: datetime
    updated: datetime


@dataclass(frozen=True)
class LearnerState:
    """What it takes to answer a query: everything but the support examples."""

    model: str
    version: str
    classes: tuple[str, ...]
    state: bytes = field(repr=False)
    revision: int


@dataclass(frozen=True)
class LearnerRecord:
    """A learner with all that belongs to it.

    Raises:
        SettingsError: an id of another form, as many counts as there are not classes, or text that cannot be stored.
    """

    id: str
    """128 random bits in hexadecimal, from `new_id`."""
    name: str
    model: str
    """The name of the bundle it was adapted from."""
    version: str
    """The version of that bundle."""
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """Examples of each class."""
    state: bytes = field(repr=False)
    """What adaptation made, as `Learner.to_bytes` gives it."""
    support: bytes | None = field(default=None, repr=False)
    """The examples it was made from; None where they are not kept."""
    revision: int = 0
    """Goes up by one with every change."""
    created: datetime = field(default_factory=now)
    updated: datetime = field(default_factory=now)

    def __post_init__(self) -> None:
        if not is_id(self.id):
            raise SettingsError(f"{self.id!r} is no id of a learner. Take one from `new_id()`: 32 hexadecimal digits.")
        if len(self.classes) != len(self.counts):
            raise SettingsError(
                f"got {len(self.counts)} counts for {len(self.classes)} classes. Give one for each class."
            )
        _check_text((self.name, self.model, self.version, *self.classes))

    @property
    def summary(self) -> LearnerSummary:
        """It without its contents."""
        return LearnerSummary(
            self.id,
            self.name,
            self.model,
            self.version,
            self.classes,
            self.counts,
            self.support is not None,
            self.revision,
            self.created,
            self.updated,
        )


@dataclass(frozen=True)
class TenantRecord:
    """A tenant, and how many learners it has."""

    name: str
    learners: int
    quota: int | None
    """The most learners it may have; None: what the server allows everybody."""
    created: datetime


@dataclass(frozen=True)
class KeyRecord:
    """What may be shown of a key: never its secret, which nobody but its owner has."""

    id: str
    tenant: str
    created: datetime
    revoked: datetime | None


def check_tenant(tenant: str) -> str:
    """The tenant's name, if it can be one.

    Raises:
        SettingsError: it cannot.
    """
    if not _TENANT.fullmatch(tenant):
        raise SettingsError(
            f"{tenant[:80]!r} cannot name a tenant. Take 1 to 64 letters, digits and . _ @ -, a letter or digit first."
        )
    return tenant


def checksum(*parts: bytes | str | int) -> bytes:
    """SHA-256 of parts of any length: no two lists of parts run together to the same bytes."""
    total = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode()
        total.update(b"%c%d:" % (type(part).__name__[0].encode(), len(content)))
        total.update(content)
    return total.digest()


def ticks(moment: datetime) -> int:
    """Microseconds since 1970: exact, and the same in every database."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_ticks(count: int) -> datetime:
    """The moment so many microseconds after 1970."""
    return EPOCH + timedelta(microseconds=count)


def _check_text(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise SettingsError(
                f"{text[:80]!r} is not valid Unicode: it holds half a character. Leave it out."
            ) from error
        if "\0" in text:
            raise SettingsError(
                f"{text[:80]!r} holds a character of code 0, which databases cannot store. Leave it out."
            )
