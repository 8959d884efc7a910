"""Two worker processes against one, one thread each: throughput of MAML on Conv-4, and the same losses.

    python benchmarks/workers.py
    python benchmarks/workers.py --counts 1 2 4 --steps 20      # how throughput grows with workers
    python benchmarks/workers.py --quick

Each job is started by torchrun, takes the same episodes of glyphs (drawn from a font: nothing to download), 16
tasks a step in all, and says how long its steps took, the first few left out. Jobs take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from harness.environments import ROOT, Environments
from harness.race import ONE_THREAD
from harness.ratios import ratio
from harness.results import write

LEFT_OUT = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each job")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round: does it run?")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(asked.work, asked.steps)
        return 0
    environments = Environments()
    environments.install()
    rounds, steps = (1, 2) if asked.quick else (asked.rounds, asked.steps)
    seconds: dict[int, list[float]] = {count: [] for count in asked.counts}
    losses: dict[int, list[float]] = {}
    for number in range(rounds):
        for count in asked.counts if number % 2 == 0 else asked.counts[::-1]:
            found = job(count, steps, environments)
            seconds[count].append(found["seconds"])
            losses[count] = found["losses"]
            print(f"  {count} workers: {found['seconds']:.2f} s a step", flush=True)
    rows = [compared(count, seconds, losses) for count in asked.counts]
    found = {"steps": steps, "tasks": 16, "rows": rows}
    print(f"  {rows}\n  -> {write('workers', found, environments, asked.quick)}")
    return 0


def compared(count: int, seconds: dict[int, list[float]], losses: dict[int, list[float]]) -> dict[str, Any]:
    """One number of workers beside the fewest: throughput, and how far the losses are apart."""
    fewest = min(seconds)
    apart = max(abs(a - b) for a, b in zip(losses[count], losses[fewest], strict=True))
    row = {"workers": count, "seconds_a_step": median(seconds[count]), "tasks_a_second": 16 / median(seconds[count])}
    return row | {"throughput": ratio(seconds[fewest], seconds[count]), "losses_apart": apart}


def job(count: int, steps: int, environments: Environments) -> dict[str, Any]:
    """Start workers and wait for what the first of them found."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "found.json"
        python = str(environments.python("torch"))
        launch = [python, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT / "src")}
        command = [*launch, __file__, "--work", str(to), "--steps", str(steps)]
        subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(to.read_text())
        return found


def work(to: Path, steps: int) -> None:
    """One worker: train, and (the first) leave the seconds of a step and the losses."""
    import torch

    from quickstudy import MAML, SGD, fit
    from quickstudy.core.workers import join, leave
    from quickstudy.nets import Conv4
    from quickstudy.tasks.glyphs import Glyphs
    from quickstudy.train.settings import Training

    torch.set_num_threads(1)
    torch.manual_seed(0)
    workers = join()
    try:
        source = Glyphs(ways=5, shots=1, queries=15).source("train")
        method = MAML(Conv4(source.item), 5, steps=5, rule=SGD(rate=0.01))
        # small inner steps and plain outer ones: Adam, which divides by a gradient's size, and large steps would
        # magnify the rounding of sums taken in another order
        training = Training(steps=steps + LEFT_OUT, batch=16, device="cpu", optimizer="sgd", momentum=0.0, rate=0.01)
        losses, start = [], 0.0
        for step in fit(method, source, training, workers=workers):
            losses.append(step.loss)
            if step.number == LEFT_OUT:
                start = time.perf_counter()
        seconds = (time.perf_counter() - start) / steps
        if workers.first:
            to.write_text(json.dumps({"seconds": seconds, "losses": losses}))
    finally:
        leave()


if __name__ == "__main__":
    sys.exit(main())
