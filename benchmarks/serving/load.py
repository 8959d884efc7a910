"""How much a server does, and how quickly it answers: Conv-4 on 28x28 images, on this machine's loopback.

    python benchmarks/serving/load.py                    # all of it: about seven minutes
    python benchmarks/serving/load.py --only batching
    python benchmarks/serving/load.py --quick            # does it run?

`mixed`: 64 clients for two minutes, each making learners of 5 classes x 5 shots (one request in ten) and asking them
about one image. `alone`: the same by one client, whose requests have nothing to wait for. `batching`: 32 clients, the
server once with and once without taking requests together, in turn, three times; the ratio of throughputs. Clients are
a process of their own, asyncio over raw connections, on the same machine.
The record is `benchmarks/results/serving-load.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from served import Served, bundle

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))
from harness.results import machine  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "serving-load.json"
CLIENTS = Path(__file__).with_name("clients.py")
WAYS, SHOTS = 5, 5
PARTS = ["mixed", "alone", "batching"]


def mixed(method: str, *, clients: int, seconds: float, adapts: float, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """One server under one load."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = bundle(folder / "bundle", method=method)
        with Served([made], f"sqlite:///{folder / 'learners.db'}", folder, *flags) as server:
            before = cpu(server.pid)
            found = run(server.port, clients=clients, seconds=seconds, adapts=adapts)
            used = cpu(server.pid) - before
            batches = mean_batches(server)
            memory = server.memory()
    return told(found) | {
        "clients": clients,
        "adapts": adapts,
        "server_processors": round(used / found["seconds"], 2),
        "mean_batch": batches,
        "memory_mb": {name: round(each) for name, each in memory.items()},
    }


def run(port: int, *, clients: int, seconds: float, adapts: float) -> dict[str, Any]:
    """The clients' own process."""
    asked = {"port": port, "clients": clients, "seconds": seconds, "adapts": adapts, "ways": WAYS, "shots": SHOTS}
    done = subprocess.run(
        [sys.executable, str(CLIENTS)],
        input=json.dumps(asked) + "\n",
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(found: dict[str, Any]) -> dict[str, Any]:
    times = found["times"]
    every = [each for some in times.values() for each in some]
    return {
        "seconds": round(found["seconds"], 1),
        "requests": len(every),
        "a_second": round(len(every) / found["seconds"], 1),
        "milliseconds": {"all": spread(every), **{kind: spread(some) for kind, some in times.items() if some}},
        "statuses": found["statuses"],
        "broken": found["errors"],
    }


def batching(method: str, *, clients: int, seconds: float, rounds: int, adapts: float) -> dict[str, Any]:
    """Requests taken together against one by one, in turn."""
    together, alone = [], []
    for _ in range(rounds):
        together.append(mixed(method, clients=clients, seconds=seconds, adapts=adapts))
        alone.append(mixed(method, clients=clients, seconds=seconds, adapts=adapts, flags=("--batch", "1")))
    ratios = [one["a_second"] / other["a_second"] for one, other in zip(together, alone, strict=True)]
    return {
        "method": method,
        "clients": clients,
        "adapts": adapts,
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(each, 2) for each in ratios],
        "together": together,
        "one_by_one": alone,
    }


def mean_batches(server: Served) -> dict[str, float]:
    """How many requests were in one mapped call, by the server's own metrics."""
    text = server.client().ask("GET", "/metrics")[1].decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("quickstudy_batch_size_"))
    found = {}
    for kind in ("adapt", "predict"):
        many = float(lines.get(f'quickstudy_batch_size_count{{work="{kind}"}}', 0))
        if many:
            found[kind] = round(float(lines[f'quickstudy_batch_size_sum{{work="{kind}"}}']) / many, 2)
    return found


def cpu(pid: int) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100) if len(times) > 1 else times * 99
    named = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "longest": max(times)}
    return {name: round(each, 2) for name, each in named.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--method", default="protonet")
    parser.add_argument("--quick", action="store_true", help="a few seconds of each, recorded nowhere")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    whole = json.loads(asked.out.read_text()) if asked.out.exists() and not asked.quick else {}
    whole |= {"part": "serving-load", "machine": machine()}
    if "mixed" in asked.only:
        whole["mixed"] = mixed(asked.method, clients=64, seconds=4 if asked.quick else 120, adapts=0.1)
        print(json.dumps(whole["mixed"]), flush=True)
    if "alone" in asked.only:
        whole["alone"] = mixed(asked.method, clients=1, seconds=4 if asked.quick else 20, adapts=0.1)
        print(json.dumps(whole["alone"]), flush=True)
    if "batching" in asked.only:
        seconds, rounds = (4, 1) if asked.quick else (20, 3)
        for name, adapts in (("batching", 0.1), ("batching, predictions alone", 0.0)):
            whole[name] = batching(asked.method, clients=32, seconds=seconds, rounds=rounds, adapts=adapts)
            print(name, whole[name]["ratio"], whole[name]["ratios"], flush=True)
    if not asked.quick:
        asked.out.write_text(json.dumps(whole, indent=1) + "\n")
        print(f"-> {asked.out}")


if __name__ == "__main__":
    main()
