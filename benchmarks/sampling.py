"""Omniglot episodes sampled a CPU second, 20-way 5-shot 5 queries: quickstudy's and learn2learn's samplers.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --quick

learn2learn's `TaskDataset` samples from the very images that quickstudy holds, as tensors in memory, and, as its own
Omniglot benchmark does, from image files (written once to a temporary folder). Reads Omniglot from `QUICKSTUDY_DATA`,
or downloads it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness.environments import Environments
from harness.race import Contender, timed
from harness.results import write
from harness.settings import Setting

CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "quickstudy": ("sampling", {"whose": "quickstudy", "batch": 64}),
    "learn2learn, tensors in memory": ("learn2learn", {"whose": "memory", "batch": 8}),
    "learn2learn, image files": ("learn2learn", {"whose": "files", "batch": 1}),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one round: does it run?")
    quick = parser.parse_args().quick
    environments = Environments()
    environments.install()
    setting = Setting(ways=20, shots=5, queries=5)
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "omniglot.npz"
        np.savez(arrays, **images(Path(folder)))
        contenders = [
            Contender(name, "sampling", options=options, needs=needs, work=options["batch"])
            for name, (needs, options) in CONTENDERS.items()
        ]
        rows = timed(setting, contenders, environments, arrays, rounds=1 if quick else 9)
    for row in rows:
        if "cpu_ms" in row:
            row["episodes_a_cpu_second"] = 1e3 / row["cpu_ms"]["median"]
        print(f"  {row['name']}: {row.get('episodes_a_cpu_second', row.get('skipped'))}, {row.get('cpu_ratio')}")
    found = {"setting": dataclasses.asdict(setting), "rows": rows}
    print(f"  -> {write('sampling', found, environments, quick)}")
    return 0


def images(folder: Path) -> dict[str, Any]:
    """The training images with their classes, and the image files of the upright ones."""
    from PIL import Image

    from quickstudy.tasks.omniglot import Omniglot

    pool = Omniglot().pools().train
    rows = np.concatenate([np.arange(s, s + c) for s, c in zip(pool.starts, pool.counts, strict=True)])
    labels = np.repeat(np.arange(len(pool.counts)), pool.counts)
    x = np.asarray(pool.x)[rows]
    upright = np.flatnonzero(labels < len(pool.counts) // 4)
    paths = []
    for i in upright:  # 105x105 in black on white, one bit a pixel, as Omniglot's files are
        path = folder / f"{i}.png"
        Image.fromarray(255 - x[i, 0]).resize((105, 105)).convert("1").save(path)
        paths.append(str(path))
    return {"images": x, "labels": labels, "paths": np.array(paths), "path_labels": labels[upright]}


if __name__ == "__main__":
    sys.exit(main())
