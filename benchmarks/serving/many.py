"""Ten thousand learners of five classes on one server: memory, lookups, and how long requests take at 20 a second.

    python benchmarks/serving/many.py                    # five minutes on an idle machine
    python benchmarks/serving/many.py --learners 200 --distinct 20 --seconds 5    # does it run?
    python benchmarks/serving/many.py --db postgresql://...          # another database; it must be empty

Some learners (`--distinct`) are made over HTTP, as users would make them; the others are copies of those under ids of
their own, put into the database while the server stands still: for memory and lookups they are learners like any other.
Then `--rate` requests a second are sent at fixed moments, whether or not earlier ones have been answered; each is timed
from the moment it was due, so that a server that falls behind is seen to. Predictions are asked of learners drawn by
chance from all of them; one request in ten makes a new learner, which is an adaptation to 25 images.
"""

from __future__ import annotations

import argparse
import dataclasses
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
    parser.add_argument("--distinct", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--adapts", type=float, default=0.1, help="the part of requests that make a new learner")
    parser.add_argument("--method", default="protonet")
    parser.add_argument("--note", default="", help="what else the machine was doing")
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
            ids, found["created"] = create(server, min(asked.distinct, asked.learners))
            server.stop()
            ids, found["copied"] = multiply(db, ids, asked.learners)
            began = time.perf_counter()
            server.start()
            found["restart_seconds"] = round(time.perf_counter() - began, 2)
            found["megabytes_with_learners"] = server.memory()
            print(json.dumps(found, indent=1), flush=True)
            found["requests"] = load(
                server, ids, asked.distinct, rate=asked.rate, seconds=asked.seconds, adapts=asked.adapts
            )
            found["megabytes_after_load"] = server.memory()
            found["lookups"] = lookups(db, ids)
            found["megabytes_when_all_were_asked"] = ask_all(server, ids, asked.distinct)
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


def multiply(db: str, ids: list[str], count: int) -> tuple[list[str], dict[str, float]]:
    """Learners in all, by copies of those there are under ids of their own."""
    from quickstudy.serve.records import new_id
    from quickstudy.serve.store import Store

    store = Store.open(db)
    began, made = time.perf_counter(), list(ids)
    originals = [store.get("local", id) for id in ids]
    for number in range(count - len(ids)):
        original = originals[number % len(ids)]
        assert original is not None
        made.append(new_id())
        store.create("local", dataclasses.replace(original, id=made[-1]))
    seconds = time.perf_counter() - began
    store.close()
    return made, {"learners": count - len(ids), "seconds": round(seconds, 1)}


def ask_all(server: Served, ids: list[str], distinct: int) -> dict[str, float]:
    """Memory after every learner has been asked once, so that as many as may be are remembered."""
    own = threading.local()

    def one(number: int) -> None:
        if not hasattr(own, "client"):
            own.client = server.client()
        body = {"inputs": [{"image": picture(number % distinct * WAYS, 1)}]}
        assert own.client.ask("POST", f"/v1/learners/{ids[number]}/predict", body)[0] == 200

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, range(len(ids))))
    return server.memory()


def load(
    server: Served, ids: list[str], distinct: int, *, rate: float, seconds: float, adapts: float
) -> dict[str, Any]:
    """Requests at fixed moments, and how long after its moment each was answered."""
    chance = random.Random(0)
    plan = []
    for number in range(int(rate * seconds)):
        learner = chance.randrange(len(ids))
        if chance.random() < adapts:
            body = {"model": "characters", "examples": examples(len(ids) + number, WAYS, SHOTS)}
            plan.append(("adapt", "/v1/learners", json.dumps(body)))
        else:
            image = picture(learner % distinct * WAYS + chance.randrange(WAYS), 100 + number)
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
