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
from typing import Any

from served import picture

WRITERS = 20  # drawings of each character to ask about


class Line:
    """One connection to the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes, float]:
        """Status, answer and milliseconds; a Retry-After in seconds is obeyed by whoever asks again."""
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        began = time.perf_counter()
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answered = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        said = await self._reader.readexactly(length)
        return int(answered[9:12]), said, 1000 * (time.perf_counter() - began)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


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
        line = Line(self.port)
        try:
            status, said, _ = await line.post("/v1/learners", makes)
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
        except (OSError, asyncio.IncompleteReadError, AssertionError) as error:
            self.errors[type(error).__name__] += 1
            ready.set()
        finally:
            line.close()

    async def _timed(self, line: Line, kind: str, path: str, body: bytes) -> tuple[int, bytes]:
        status, said, ms = await line.post(path, body)
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
    print(json.dumps(asyncio.run(Clients(**json.loads(sys.stdin.readline())).all())))
