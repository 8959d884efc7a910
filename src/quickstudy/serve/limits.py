"""Who may ask, how often, and how much at once: what is refused is refused before it costs anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.types import Receive

from quickstudy.serve.refusals import RefusedError, busy, too_large
from quickstudy.serve.settings import Limits

__all__ = ["Bodies", "Gate", "Rates"]


class Rates:
    """A bucket of tokens for each tenant: `rate` flow in each second, `burst` fit in, a request takes one.

    Args:
        rate: Tokens a second; 0 lets everything pass.
        burst: How many a bucket holds.
        clock: Seconds that never go back.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, tenant: str) -> None:
        """Take a token of the tenant's.

        Raises:
            RefusedError: there is none left; it says when there will be.
        """
        if self._rate <= 0:
            return
        now = self._clock()
        tokens, since = self._buckets.get(tenant, (float(self._burst), now))
        tokens = min(self._burst, tokens + self._rate * (now - since))
        if tokens < 1:
            self._buckets[tenant] = tokens, now
            raise busy(
                f"more requests than {self._rate:g} a second, which is what you may make on average. Wait as long as "
                "Retry-After says, then go on more slowly.",
                (1 - tokens) / self._rate,
                code="too_many_requests",
            )
        self._buckets[tenant] = tokens - 1, now


class Gate:
    """How many requests are under way at once, in all and of one tenant.

    Args:
        most: In all.
        share: The part of them that one tenant may take.
        delay: About how many seconds a request waits that comes now.
    """

    def __init__(self, most: int, share: float, delay: Callable[[], float] = lambda: 0.0) -> None:
        self._most, self._of_one, self._delay = most, max(1, int(most * share)), delay
        self._inside: dict[str, int] = {}
        self._total = 0
        self._expected = 0

    @property
    def inside(self) -> int:
        """How many are under way."""
        return self._total

    def expected(self) -> int:
        """How many have arrived whole and are on their way to be computed."""
        return self._expected

    @contextmanager
    def enter(self, tenant: str) -> Iterator[None]:
        """Be one of them for the length of a `with` block.

        Raises:
            RefusedError: there are too many.
        """
        own = self._inside.get(tenant, 0)
        if self._total >= self._most or own >= self._of_one:
            whose = "of yours " if own >= self._of_one else ""
            raise busy(
                f"{self._total if not whose else own} requests {whose}are under way, which is as many as there may be. "
                "Wait as long as Retry-After says, then try again.",
                max(1.0, self._delay()),
            )
        self._inside[tenant] = own + 1
        self._total += 1
        try:
            yield
        finally:
            self._total -= 1
            self._inside[tenant] -= 1
            if not self._inside[tenant]:
                del self._inside[tenant]

    @contextmanager
    def away(self) -> Iterator[None]:
        """Be computed, for the length of a block within `coming`: nobody waits for what waits itself."""
        self._expected -= 1
        try:
            yield
        finally:
            self._expected += 1

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Be on the way to be computed, for the length of a `with` block."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1


class Bodies:
    """Reads the bodies of requests: each no further than its limit, and all at once no more than memory allows."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes of bodies in memory."""
        return self._held

    @asynccontextmanager
    async def read(self, announced: str, receive: Receive) -> AsyncIterator[bytes]:
        """The body of a request, held for the length of a `with` block.

        Raises:
            RefusedError: as `take`.
        """
        try:
            async with asyncio.timeout(self._limits.upload):
                body = await self.take(announced, receive)
        except TimeoutError:
            raise self.too_slow() from None
        try:
            yield body
        finally:
            self.release(body)

    async def take(self, announced: str, receive: Receive) -> bytes:
        """The body of a request, which counts as held until it is released. It waits for as long as that takes.

        Args:
            announced: What the request's header says of its length.
            receive: Gives the parts of the body, as ASGI has it.

        Raises:
            RefusedError: it is too large, or other requests fill the memory for bodies.
        """
        if announced.isdecimal() and int(announced[:20]) > self._limits.body_bytes:
            raise _body_too_large(self._limits)
        body = bytearray()
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "cut_off", "the request's body ended before it was whole. Send it again.")
                part: bytes = message.get("body", b"")
                self._hold(len(body), part)
                whole = not message.get("more_body", False)
                if whole and not body:
                    return part
                body += part
                if whole:
                    return bytes(body)
        except BaseException:
            self._held -= len(body)
            raise

    def release(self, body: bytes) -> None:
        """Hold a body no longer."""
        self._held -= len(body)

    def too_slow(self) -> RefusedError:
        """A body that did not arrive in time."""
        return RefusedError(
            408,
            "too_slow",
            f"the request's body did not arrive within {self._limits.upload:g} s. Send less at once, or over a "
            "faster line.",
        )

    def _hold(self, size: int, part: bytes) -> None:
        if size + len(part) > self._limits.body_bytes:
            raise _body_too_large(self._limits)
        if self._held + len(part) > self._limits.memory_bytes:
            raise busy("the bodies of other requests fill the memory meant for them. Try again in a moment.", 1.0)
        self._held += len(part)


def _body_too_large(limits: Limits) -> RefusedError:
    return too_large(
        f"the request's body is larger than {limits.body:g} MB. Shrink the images, or send the examples in several "
        "requests: the first makes the learner, the others add to it."
    )
