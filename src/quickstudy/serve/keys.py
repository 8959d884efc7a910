"""API keys: what a tenant shows, and what is kept of it.

A key is `qs_ID_SECRET`: 64 random bits find its row, 256 random bits prove it. Of the secret only SHA-256 with a salt
is kept. Slow hashes such as scrypt are for secrets that people choose, where whoever has stolen the database can try
them all. Nobody tries 2**256, at any speed, while a slow hash would let all who send wrong keys use up the processor.
The hash covers the id and the tenant, so that a row altered to name another tenant proves nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from quickstudy.serve.records import checksum

__all__ = ["Kept", "VerifiedKeys", "keep", "key_id", "make", "proves"]

_FORM = re.compile(r"qs_([0-9a-f]{16})_([0-9a-f]{64})")


class Kept(NamedTuple):
    """What the database has of a key."""

    id: str
    tenant: str
    salt: bytes
    digest: bytes
    revoked: bool = False


def make() -> str:
    """A new key. It is shown once and kept nowhere."""
    return f"qs_{secrets.token_hex(8)}_{secrets.token_hex(32)}"


def key_id(key: str) -> str | None:
    """The part of a key that finds its row and may be shown; None where the text has not the form of a key."""
    found = _FORM.fullmatch(key)
    return found[1] if found else None


def keep(key: str, tenant: str) -> Kept:
    """What to store of a key."""
    salt = secrets.token_bytes(16)
    own = key_id(key) or ""
    return Kept(own, tenant, salt, checksum(salt, own, tenant, key))


_NOBODY = Kept("0" * 16, "nobody", secrets.token_bytes(16), secrets.token_bytes(32))


def proves(key: str, kept: Kept | None) -> bool:
    """Whether the key is the one that is kept, and not revoked.

    A wrong secret costs as much as an id that nobody has, which is compared with a row that no key fits.
    """
    row = kept or _NOBODY
    right = hmac.compare_digest(checksum(row.salt, row.id, row.tenant, key), row.digest)
    return right and kept is not None and not row.revoked


class VerifiedKeys:
    """Keys found right within the last seconds, so that most requests need not ask the database.

    Only right keys are remembered, under a hash that this process alone can make. A revoked key is forgotten at once by
    the process that revokes it, and by the others when its time is up.

    Args:
        seconds: How long a key is remembered.
        most: How many keys; the one not used for longest goes first.
        clock: Seconds that never go back.
    """

    def __init__(self, seconds: float = 5.0, most: int = 4096, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._pepper = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._found: OrderedDict[bytes, tuple[str, str, float]] = OrderedDict()

    def tenant_of(self, key: str) -> str | None:
        """The tenant of a key verified a moment ago."""
        name = self._name(key)
        with self._lock:
            tenant, _, until = self._found.get(name, (None, "", 0.0))
            if tenant is None or self._clock() >= until:
                self._found.pop(name, None)
                return None
            self._found.move_to_end(name)
            return tenant

    def add(self, key: str, tenant: str) -> None:
        """Remember a key that the database has just confirmed."""
        with self._lock:
            self._found[self._name(key)] = (tenant, key_id(key) or "", self._clock() + self._seconds)
            while len(self._found) > self._most:
                self._found.popitem(last=False)

    def forget(self, own: str) -> None:
        """Forget the key of this id."""
        with self._lock:
            self._found = OrderedDict((name, found) for name, found in self._found.items() if found[1] != own)

    def _name(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode(errors="surrogatepass"), key=self._pepper, digest_size=32).digest()
