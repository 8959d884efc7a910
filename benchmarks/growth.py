"""How the cost of a step grows: with tasks, inner steps, shots and ways; and how long one task takes to serve.

    python benchmarks/growth.py
    python benchmarks/growth.py --only latency
    python benchmarks/growth.py --quick

Each size runs in a process of its own, one thread: CPU and wall time of a step (the middle one of several), and peak
memory above what the process held before the step. Exponents are slopes on logarithmic axes: cost grows as size to
that power; those of the larger half of the sizes say where it is heading, constant costs being left behind.
`workers.py` has the growth with workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from harness.environments import Environments
from harness.race import Worker
from harness.ratios import exponent, percentile
from harness.results import read, write
from harness.settings import Setting, draw, save

SINES = Setting(net="mlp", tasks=25, ways=1, shots=10, queries=10, rate=0.01)
ONE = Setting(tasks=1, rate=0.01)
PROTONET = Setting(method="protonet", tasks=1, queries=5)
AXES: dict[str, tuple[str, Setting, tuple[int, ...]]] = {
    "tasks, sines": ("tasks", SINES, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)),
    "tasks, protonet": ("tasks", dataclasses.replace(PROTONET, queries=1), (1, 4, 16, 64, 256, 512)),
    "steps, sines": ("steps", SINES, (1, 2, 5, 10, 20, 50, 100, 200)),
    "steps, conv4": ("steps", ONE, (1, 2, 5, 10, 20, 50, 100, 200)),
    "shots, protonet": ("shots", PROTONET, (1, 2, 5, 10, 20, 50)),
    "ways, protonet": ("ways", PROTONET, (2, 5, 10, 20, 50, 100)),
}
LATENCY = dataclasses.replace(PROTONET, shots=5, queries=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=["latency", *AXES], action="append")
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes of each: does it run?")
    asked = parser.parse_args()
    environments = Environments()
    environments.install()
    chosen = asked.only or ["latency", *AXES]
    if "latency" in chosen:
        found = latency(environments, 50 if asked.quick else 1000)
        print(f"  latency: {found}\n  -> {write('latency', found, environments, asked.quick)}", flush=True)
    axes = [name for name in chosen if name != "latency"]
    rows = {name: axis(name, environments, asked.quick) for name in axes}
    if rows:
        known = {} if asked.quick else (read("growth") or {}).get("axes", {})
        kept = {name: known[name] for name in AXES if name in known and name not in rows}
        print(f"  -> {write('growth', {'axes': kept | rows}, environments, asked.quick)}")
    return 0


def latency(environments: Environments, times: int) -> dict[str, Any]:
    """Milliseconds to adapt to one five-way five-shot task and to predict five queries."""
    with tempfile.TemporaryDirectory() as folder, Worker(environments.python("torch")) as worker:
        _build(worker, LATENCY, Path(folder), {"serving": True})
        worker.ask("each", times=20)
        ms = worker.ask("each", times=times)["ms"]
    shares = {f"p{share}_ms": percentile(ms, share) for share in (50, 90, 99)}
    return {"setting": dataclasses.asdict(LATENCY), "calls": times} | shares


def axis(name: str, environments: Environments, quick: bool) -> dict[str, Any]:
    """One axis: the cost at each size, and the exponents."""
    field, setting, sizes = AXES[name]
    rows = [
        {field: size} | cost(dataclasses.replace(setting, **{field: size}), environments)
        for size in (sizes[:2] if quick else sizes)
    ]
    found: dict[str, Any] = {"field": field, "setting": dataclasses.asdict(setting), "rows": rows}
    large = rows if quick else rows[len(rows) // 2 :]
    for what in ("cpu_ms", "wall_ms", "above_mb"):
        some = [(row[field], row[what]) for row in large if row[what] > 0]
        if len(some) > 1:
            found[f"{what}_exponent"] = exponent(*zip(*some, strict=True))
    print(f"  {name}: {[(row[field], round(row['cpu_ms'], 1), round(row['above_mb'])) for row in rows]}", flush=True)
    return found


def cost(setting: Setting, environments: Environments) -> dict[str, float]:
    """CPU and wall milliseconds of a step, and the MB it needs."""
    allocator = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
    with tempfile.TemporaryDirectory() as folder:
        with Worker(environments.python("torch"), environment=allocator) as worker:
            before = _build(worker, setting, Path(folder), {})["peak_mb"]
            first = worker.ask("turn", times=1)
        with Worker(environments.python("torch")) as worker:
            _build(worker, setting, Path(folder), {})
            times = max(1, round(0.1 / worker.ask("turn", times=1)["wall"]))
            turns = [worker.ask("turn", times=times) for _ in range(3 if first["wall"] < 5 else 1)]
    return {
        "cpu_ms": 1e3 * median(turn["cpu"] for turn in turns),
        "wall_ms": 1e3 * median(turn["wall"] for turn in turns),
        "above_mb": first["peak_mb"] - before,
    }


def _build(worker: Worker, setting: Setting, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    save(folder / "arrays.npz", draw(setting))
    what = {"setting": dataclasses.asdict(setting), "arrays": str(folder / "arrays.npz"), "options": options}
    built = worker.ask("build", module="quickstudy", **what)
    if "error" in built:
        raise SystemExit(built["error"])
    return built


if __name__ == "__main__":
    sys.exit(main())
