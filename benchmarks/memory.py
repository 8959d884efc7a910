"""Peak memory of one exact MAML step against inner steps: quickstudy's and its peers', a process each.

    python benchmarks/memory.py
    python benchmarks/memory.py --quick

Conv-4 with 64 filters and max-pooling, five ways, one shot, 15 queries a class, one task. Each figure is the peak
resident memory of a process of its own (`ru_maxrss`), whole and above what it held just before the step.

glibc's allocator keeps much of what it has freed, in pieces that no later activation fits into, so by default the
figures say more of it than of the method. The processes run with MALLOC_MMAP_THRESHOLD_ set, which returns freed
tensors to the system at once; figures with the allocator's defaults stand beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.environments import Environments
from harness.race import Contender, Worker
from harness.results import write
from harness.settings import Setting, draw, save

RETURNING = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
OURS = Contender("quickstudy", "quickstudy")
PEERS = [
    Contender("quickstudy, unrolled", "quickstudy", options={"gradient": "unrolled"}),
    Contender("learn2learn", "learn2learn"),
    Contender("higher", "higher"),
    Contender("TorchOpt", "torchopt"),
    Contender("parallel-metalearn", "metalearn"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few steps: does it run?")
    quick = parser.parse_args().quick
    environments = Environments()
    environments.install()
    ours = (1, 2) if quick else (5, 50, 200)
    asked = [(OURS, steps) for steps in ours] + [(peer, steps) for peer in PEERS for steps in ours[:2]]
    rows = []
    for contender, steps in asked:
        row = {"name": contender.name, "steps": steps} | measure(contender, steps, environments, RETURNING)
        if "skipped" not in row:
            default = measure(contender, steps, environments, {})
            row |= {"default_allocator_" + key: default[key] for key in ("peak_mb", "above_mb")}
        rows.append(row)
        print(f"  {row}", flush=True)
    found = {"setting": dataclasses.asdict(Setting(tasks=1)), "rows": rows, "ratios": ratios(rows, ours)}
    print(f"  {found['ratios']}\n  -> {write('memory', found, environments, quick)}")
    return 0


def measure(
    contender: Contender, steps: int, environments: Environments, environment: dict[str, str]
) -> dict[str, Any]:
    """Peak MB of a process that takes one meta-gradient, whole and above what it held before, and its seconds."""
    python, reason = environments.python_for(contender.module, contender.environment)
    if python is None:
        return {"skipped": reason}
    setting = Setting(tasks=1, steps=steps, rate=0.01)
    with tempfile.TemporaryDirectory() as folder, Worker(python, environment=environment) as worker:
        arrays = Path(folder) / "arrays.npz"
        save(arrays, draw(setting))
        built = worker.ask(
            "build",
            module=contender.module,
            setting=dataclasses.asdict(setting),
            arrays=str(arrays),
            options=contender.options,
        )
        took = worker.ask("turn", times=1) if "seconds" in built else built
    if "cpu" not in took:
        return {"skipped": took.get("absent") or took["error"]}
    peak = took["peak_mb"]
    return {"peak_mb": peak, "above_mb": peak - built["peak_mb"], "cpu_s": took["cpu"], "wall_s": took["wall"]}


def ratios(rows: list[dict[str, Any]], steps: tuple[int, ...]) -> list[dict[str, Any]]:
    """Each row's memory over that of quickstudy: at the fewest steps for its own rows, at as many for the peers'."""
    ours = {row["steps"]: row for row in rows if row["name"] == OURS.name and "skipped" not in row}
    found = []
    for row in rows:
        own = row["name"] == OURS.name
        if "skipped" in row or (own and row["steps"] == steps[0]):
            continue
        other = ours[steps[0] if own else row["steps"]]
        over, under = (row, other) if own else (other, row)
        found.append(
            {
                "what": f"quickstudy, {row['steps']} steps over {steps[0]}"
                if own
                else f"quickstudy over {row['name']}, {row['steps']} steps",
                **{key: over[key] / under[key] for key in ("peak_mb", "above_mb", "default_allocator_above_mb")},
            }
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
