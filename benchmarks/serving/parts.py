"""What a request costs, part by part, in milliseconds of one processor: where taking requests together can help.

    python benchmarks/serving/parts.py                   # a minute, on an idle machine
    python benchmarks/serving/parts.py --rounds 3        # does it run?

Requests go through the application in one process, without a network: what the thread of the event loop takes for each
(`handling`: reading, checking and answering, without uvicorn's own), and what the computing thread takes (`computing`),
alone and so many together. Each is the least of many rounds. `bound` is what the ratio of throughputs cannot exceed
where one request in ten makes a learner and in none: with nothing but these two parts, and both threads never at work
at once. What the network, uvicorn and the clients take comes on top of both, and lowers it.
The record is `benchmarks/results/serving-parts.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from served import bundle, examples, picture

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))
from harness.results import machine  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "serving-parts.json"
WAYS, SHOTS = 5, 5
TOGETHER = {"predict": (1, 8, 32), "adapt": (1, 8)}


class Asking:
    """The application with a learner for each client, and requests made ready."""

    def __init__(self, app: Any, clients: int) -> None:
        self._app = app
        self._makes = [self._body(number) for number in range(clients)]
        self._asks = [json.dumps({"inputs": [{"image": picture(number, 100)}]}).encode() for number in range(clients)]
        self._ids: list[str] = []
        self.computing: int = app.state.server.batcher.thread

    async def prepare(self) -> None:
        self._ids = [(await self._post("/v1/learners", body))["id"] for body in self._makes]

    async def together(self, kind: str, count: int) -> None:
        """So many requests at once."""
        if kind == "adapt":
            await asyncio.gather(*(self._post("/v1/learners", body) for body in self._makes[:count]))
        else:
            ids = self._ids[:count]
            paths = (f"/v1/learners/{id}/predict" for id in ids)
            await asyncio.gather(*(self._post(*each) for each in zip(paths, self._asks, strict=False)))

    async def _post(self, path: str, body: bytes) -> Any:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        headers.append((b"content-length", str(len(body)).encode()))
        head = {"type": "http", "http_version": "1.1", "scheme": "http", "method": "POST", "root_path": ""}
        place = {"path": path, "raw_path": path.encode(), "query_string": b"", "state": {}}
        await self._app({**head, **place, "headers": headers, "client": None, "server": None}, receive, send)
        assert sent[0]["status"] in (200, 201), sent
        return json.loads(b"".join(each.get("body", b"") for each in sent))

    def _body(self, number: int) -> bytes:
        return json.dumps({"model": "characters", "examples": examples(number, WAYS, SHOTS)}).encode()


async def measured(asking: Asking, rounds: int) -> dict[str, Any]:
    """The least of so many rounds, for each kind of request and each number of them together."""
    await asking.prepare()
    found: dict[str, Any] = {}
    for kind, counts in TOGETHER.items():
        found[kind] = {}
        for count in counts:
            times = [await once(asking, kind, count) for _ in range(max(3, rounds // max(1, count // 4)))]
            handling, computing = (min(each) / count for each in zip(*times, strict=True))
            found[kind][str(count)] = {"handling": round(handling, 3), "computing": round(computing, 3)}
            print(kind, count, found[kind][str(count)], flush=True)
    return found


async def once(asking: Asking, kind: str, count: int) -> tuple[float, float]:
    """Milliseconds of processor that the two threads take for so many requests."""
    handling, computing = time.thread_time(), used(asking.computing)
    await asking.together(kind, count)
    return 1e3 * (time.thread_time() - handling), 1e3 * (used(asking.computing) - computing)


def used(thread: int) -> float:
    """Seconds of processor that a thread has taken, to the nanosecond."""
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0]) / 1e9


def bound(found: dict[str, Any], adapts: float) -> float:
    """One by one against together, with this part of requests that make a learner."""

    def each(kind: str, count: str) -> float:
        handling = min(one["handling"] for one in found[kind].values())
        return float(handling + found[kind][count]["computing"])

    alone = adapts * each("adapt", "1") + (1 - adapts) * each("predict", "1")
    together = adapts * each("adapt", "8") + (1 - adapts) * each("predict", "32")
    return round(alone / together, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=600, help="single requests; fewer rounds of more together")
    parser.add_argument("--method", default="protonet")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    from quickstudy.core import allocator
    from quickstudy.serve import logs
    from quickstudy.serve.app import make_app
    from quickstudy.serve.settings import ServerSettings

    allocator.keep_freed_memory()
    with open(os.devnull, "w") as nowhere, tempfile.TemporaryDirectory() as temporary:
        logs.set_up(nowhere)
        folder = Path(temporary)
        made = bundle(folder / "bundle", method=asked.method)
        db, versions = f"sqlite:///{folder / 'learners.db'}", str(folder / "versions")
        app = make_app(ServerSettings(bundles=(str(made),), db=db, versions=versions))
        found = asyncio.run(measured(Asking(app, max(TOGETHER["predict"])), asked.rounds))
        app.state.server.close()
    found["bound"] = {"one in ten": bound(found, 0.1), "predictions alone": bound(found, 0.0)}
    print(json.dumps(found["bound"]))
    asked.out.write_text(json.dumps({"part": "serving-parts", "machine": machine(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
