"""Many clients in one process: asyncio, connections kept, requests made ready beforehand, as little work as can be.

Started by `load.py` as a process of its own: what to do comes as one line of JSON on standard input, and what was found
goes out as one.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from typing import Any, cast

try:
    import uvloop
except ImportError:
    uvloop = None

from served import picture

WRITERS = 20  # drawings of each character to ask about


class Line(asyncio.Protocol):
    """One connection to the server: no streams and no parser of HTTP, which would take as long as the server does."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._got = b""
        self._whole = 0

    async def post(self, port: int, path: str, body: bytes) -> tuple[int, bytes, float]:
        """Status, answer and milliseconds; a Retry-After in seconds is obeyed by whoever asks again."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            await loop.create_connection(lambda: self, "127.0.0.1", port)
        assert self._transport is not None
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._answer, self._got, self._whole = loop.create_future(), b"", 0
        began = time.perf_counter()
        self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status, said = await self._answer
        return status, said, 1000 * (time.perf_counter() - began)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by name

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._whole:
            end = self._got.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            length = self._got[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._whole = end + int(length)
        if len(self._got) >= self._whole and self._answer is not None and not self._answer.done():
            self._answer.set_result((int(self._got[9:12]), self._got[self._got.index(b"\r\n\r\n") + 4 :]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server hung up"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Clients:
    """What all clients share: pictures, what they are to do, and what they found."""

    def __init__(self, port: int, clients: int, seconds: float, *, adapts: float, ways: int, shots: int) -> None:
        self.port, self.clients, self.seconds = port, clients, seconds
        self.adapts, self.ways, self.shots = adapts, ways, shots
        self.times: dict[str, list[float]] = {"adapt": [], "predict": []}
        self.statuses: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.until = 0.0

    async def all(self) -> dict[str, Any]:
        """Every client at work, after each has a learner; only what is answered in the time counts."""
        ready: list[asyncio.Event] = [asyncio.Event() for _ in range(self.clients)]
        go = asyncio.Event()
        tasks = [asyncio.create_task(self.one(number, ready[number], go)) for number in range(self.clients)]
        await asyncio.gather(*(each.wait() for each in ready))
        began = time.perf_counter()
        self.until = began + self.seconds
        go.set()
        await asyncio.gather(*tasks)
        took = time.perf_counter() - began
        return {
            "seconds": took,
            "times": self.times,
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "errors": dict(self.errors),
        }

    async def one(self, number: int, ready: asyncio.Event, go: asyncio.Event) -> None:
        chance = random.Random(number)
        makes = self._body(number)
        asks = [
            json.dumps({"inputs": [{"image": picture(number * self.ways + chance.randrange(self.ways), 100 + writer)}]})
            for writer in range(WRITERS)
        ]
        line = Line()
        try:
            status, said, _ = await line.post(self.port, "/v1/learners", makes)
            assert status == 201, said
            learner = json.loads(said)["id"]
            ready.set()
            await go.wait()
            while time.perf_counter() < self.until:
                if chance.random() < self.adapts:
                    status, said = await self._timed(line, "adapt", "/v1/learners", makes)
                    if status == 201:
                        learner = json.loads(said)["id"]
                else:
                    await self._timed(line, "predict", f"/v1/learners/{learner}/predict", chance.choice(asks).encode())
        except (OSError, AssertionError) as error:
            self.errors[type(error).__name__] += 1
            ready.set()
        finally:
            line.close()

    async def _timed(self, line: Line, kind: str, path: str, body: bytes) -> tuple[int, bytes]:
        status, said, ms = await line.post(self.port, path, body)
        self.statuses[status] += 1
        self.times[kind].append(ms)
        return status, said

    def _body(self, number: int) -> bytes:
        characters = [number * self.ways + way for way in range(self.ways)]
        support = [
            {"class": str(each), "image": picture(each, shot)} for each in characters for shot in range(self.shots)
        ]
        return json.dumps({"model": "characters", "examples": support}).encode()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        print(json.dumps(runner.run(Clients(**json.loads(sys.stdin.readline())).all())))
