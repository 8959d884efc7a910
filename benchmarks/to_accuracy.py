"""Wall-clock time to 97 % on Omniglot, 5-way 1-shot, Vinyals' split: quickstudy's recipe and learn2learn's example.

    python benchmarks/to_accuracy.py
    python benchmarks/to_accuracy.py --quick

Both are asked the same 200 validation episodes (15 queries a class) between steps; the time that takes is not counted.
The peer is given up after `--times` (10) of quickstudy's own time. It normalises by the queries at hand, as it is
written, which makes its task easier; quickstudy by the support alone. One after the other, one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness.environments import Environments
from harness.race import BENCHMARKS, ONE_THREAD
from harness.results import write

PEERS = {
    "learn2learn's example (fully connected)": "learn2learn-fc",
    "learn2learn's example, with its CNN": "learn2learn-cnn",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--target", type=float, default=0.97, help="accuracy on the validation episodes")
    parser.add_argument("--times", type=float, default=10.0, help="how many of our times the peer is given")
    parser.add_argument("--quick", action="store_true", help="a low target: does it run?")
    asked = parser.parse_args()
    target = 0.3 if asked.quick else asked.target
    environments = Environments()
    environments.install()
    python, reason = environments.python_for("learn2learn", "torch")
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        np.savez(arrays, **tasks())
        own = run(sys.executable, arrays, "quickstudy", target, 3600)
        rows = [{"name": "quickstudy, prototypical networks", "curve": own, "reached": own[-1]["accuracy"] >= target}]
        limit = asked.times * own[-1]["seconds"]
        for name, who in PEERS.items():
            if python is None:
                rows.append({"name": name, "skipped": reason})
                continue
            curve = run(str(python), arrays, who, target, limit)
            rows.append({"name": name, "curve": curve, "reached": curve[-1]["accuracy"] >= target})
    for row in rows:
        if "curve" in row:
            row["ratio"] = row["curve"][-1]["seconds"] / own[-1]["seconds"]
            print(f"  {row['name']}: {row['curve'][-1]}, {row['ratio']:.1f} times ours, reached: {row['reached']}")
    print(f"  -> {write('to-accuracy', {'target': target, 'rows': rows}, environments, asked.quick)}")
    return 0


def run(python: str, arrays: Path, who: str, target: float, limit: float) -> list[dict[str, Any]]:
    """A contender's curve, evaluation by evaluation."""
    script = BENCHMARKS / "contenders" / "to_accuracy.py"
    command = [python, str(script), str(arrays), who, str(target), str(limit)]
    found = subprocess.run(command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in found.stdout.splitlines()]


def tasks() -> dict[str, Any]:
    """Training images with their classes, and validation episodes, as bytes."""
    from quickstudy.tasks.omniglot import Omniglot

    pool = Omniglot().pools().train
    rows = np.concatenate([np.arange(s, s + c) for s, c in zip(pool.starts, pool.counts, strict=True)])
    labels = np.repeat(np.arange(len(pool.counts)), pool.counts)
    episodes = Omniglot(ways=5, shots=1, queries=15).source("val").batch(range(200))
    support, query = episodes.support, episodes.query
    order = support.y.float().argmax(-1).argsort(1)  # one example a class, in the order of the classes
    held = support.x.gather(1, order[..., None, None, None].expand_as(support.x))
    return {
        "images": np.asarray(pool.x)[rows],
        "labels": labels,
        "support": held.numpy(),
        "query": query.x.numpy(),
        "truth": query.y.float().argmax(-1).numpy(),
    }


if __name__ == "__main__":
    sys.exit(main())
