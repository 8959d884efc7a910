"""Ten thousand learners of five classes on one server: memory, lookups, and how long requests take at 20 a second.

    python benchmarks/serving/many.py                    # 10 to 15 minutes on an idle machine
    python benchmarks/serving/many.py --learners 200 --seconds 5    # does it run?
    python benchmarks/serving/many.py --db postgresql://...          # another database; it must be empty

Learners are made over HTTP, as users would make them. Then `--rate` requests a second are sent at fixed moments,
whether or not earlier ones have been answered; each is timed from the moment it was due, so that a server that falls
behind is seen to. Predictions are asked of learners drawn by chance from all of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from served import Served, bundle, examples, picture

RESULTS = Path(__file__).parents[1] / "results" / "serving-many.json"
WAYS, SHOTS, CLIENTS = 5, 5, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--adapts", type=float, default=0.1, help="the part of requests that make a new learner")
    parser.add_argument("--method", default="protonet")
    parser.add_argument("--db", help="by default an SQLite file of its own")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        db = asked.db or f"sqlite:///{folder / 'learners.db'}"
        made = bundle(folder / "bundle", method=asked.method)
        with Served([made], db, folder) as server:
            found: dict[str, Any] = {"asked": vars(asked) | {"out": None, "ways": WAYS, "shots": SHOTS}}
            found["machine"] = {"python": platform.python_version(), "system": platform.platform()}
            found["megabytes_when_empty"] = server.memory()
            ids, found["created"] = create(server, asked.learners)
            found["megabytes_with_learners"] = server.memory()
            found["requests"] = load(server, ids, asked.rate, asked.seconds, asked.adapts)
            found["megabytes_after_load"] = server.memory()
            found["lookups"] = lookups(db, ids)
            server.stop()
            began = time.perf_counter()
            server.start()
            found["restart_seconds"] = round(time.perf_counter() - began, 2)
            found["megabytes_after_restart"] = server.memory()
        if asked.db is None:
            found["database_megabytes"] = round((folder / "learners.db").stat().st_size / 2**20, 1)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def create(server: Served, count: int) -> tuple[list[str], dict[str, float]]:
    """So many learners, by several clients at once."""
    own = threading.local()

    def one(number: int) -> str:
        if not hasattr(own, "client"):
            own.client = server.client()
        body = {"model": "characters", "name": str(number), "examples": examples(number, WAYS, SHOTS)}
        status, answer = own.client.ask("POST", "/v1/learners", body)
        assert status == 201, answer
        return str(answer["id"])

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        ids = list(pool.map(one, range(count)))
    seconds = time.perf_counter() - began
    return ids, {"learners": count, "seconds": round(seconds, 1), "a_second": round(count / seconds, 1)}


def load(server: Served, ids: list[str], rate: float, seconds: float, adapts: float) -> dict[str, Any]:
    """Requests at fixed moments, and how long after its moment each was answered."""
    chance = random.Random(0)
    plan = []
    for number in range(int(rate * seconds)):
        learner = chance.randrange(len(ids))
        if chance.random() < adapts:
            body = {"model": "characters", "examples": examples(len(ids) + number, WAYS, SHOTS)}
            plan.append(("adapt", "/v1/learners", json.dumps(body)))
        else:
            image = picture(learner * WAYS + chance.randrange(WAYS), 100 + number)
            plan.append(("predict", f"/v1/learners/{ids[learner]}/predict", json.dumps({"inputs": [{"image": image}]})))
    own = threading.local()
    times: dict[str, list[float]] = {"adapt": [], "predict": []}
    wrong: list[int] = []
    start = time.perf_counter() + 1

    def one(number: int) -> None:
        kind, path, body = plan[number]
        if not hasattr(own, "client"):
            own.client = server.client()
        due = start + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        status, _ = own.client.ask("POST", path, body)
        times[kind].append(1000 * (time.perf_counter() - due))
        if status not in (200, 201):
            wrong.append(status)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, range(len(plan))))
    every = times["adapt"] + times["predict"]
    return {
        "rate": rate,
        "requests": len(every),
        "errors": len(wrong),
        "milliseconds": {"all": spread(every), **{kind: spread(each) for kind, each in times.items() if each}},
    }


def lookups(db: str, ids: list[str]) -> dict[str, Any]:
    """Microseconds to find a learner in the store, without the server: its state, and its revision alone."""
    from quickstudy.serve.store import Store

    store = Store.open(db)
    chance = random.Random(1)
    found = {}
    for what in ("state", "revision"):
        times = []
        for _ in range(2000):
            id = ids[chance.randrange(len(ids))]
            began = time.perf_counter()
            assert getattr(store, what)("local", id) is not None
            times.append(1000 * (time.perf_counter() - began))
        found[what] = spread(times)
    store.close()
    return {"milliseconds": found, "learners": len(ids)}


def spread(times: list[float]) -> dict[str, float]:
    """What half, 95 and 99 of a hundred are below, and the longest."""
    cuts = statistics.quantiles(times, n=100) if len(times) > 1 else times * 99
    named = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "longest": max(times)}
    return {name: round(each, 3) for name, each in named.items()}


if __name__ == "__main__":
    main()
