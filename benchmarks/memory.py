"""Peak memory of one exact MAML step at 5 and at 50 inner steps, beside backpropagation through the stored steps.

    python benchmarks/memory.py

Conv-4 with 64 filters and max-pooling, five ways, one shot, 15 queries a class, one task. Each figure is the peak
resident memory of a process of its own (`ru_maxrss`), once as it is and once above what the process held just before
the step. It exits with 1 if 50 exact steps need more than 1.2 times the memory of 5, or stored steps less than twice.

glibc's allocator keeps much of what it has freed, in pieces that no later activation fits into, so by default the
figures say more of it than of the method. The processes therefore run with MALLOC_MMAP_THRESHOLD_ set, which returns
freed tensors to the system at once; `--allocator default` leaves the allocator as it is.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

SETTINGS = [("exact", 5), ("exact", 50), ("unrolled", 5), ("unrolled", 50), ("first-order", 5), ("first-order", 50)]
SCALE = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, in KiB on Linux
FLAT, GROWN = 1.2, 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--allocator", choices=["returning", "default"], default="returning")
    parser.add_argument("--one", nargs=2, metavar=("GRADIENT", "STEPS"), help="measure one setting in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(*measure(arguments.one[0], int(arguments.one[1])))
        return 0
    return compare(arguments.allocator)


def compare(allocator: str) -> int:
    """Print the table and whether the targets are met."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if allocator == "returning":
        environment["MALLOC_MMAP_THRESHOLD_"] = str(2**17)
    peak, above = {}, {}
    print("| gradient | inner steps | peak MB | above baseline MB | CPU s |\n|---|---|---|---|---|")
    for gradient, steps in SETTINGS:
        command = [sys.executable, __file__, "--one", gradient, str(steps)]
        base, top, seconds = map(float, subprocess.check_output(command, env=environment, text=True).split())
        peak[gradient, steps], above[gradient, steps] = top, top - base
        print(f"| {gradient} | {steps} | {top:.0f} | {top - base:.0f} | {seconds:.1f} |", flush=True)
    grows = {g: (peak[g, 50] / peak[g, 5], above[g, 50] / above[g, 5]) for g in ("exact", "unrolled")}
    for gradient, (whole, step) in grows.items():
        print(f"{gradient}: 50 steps need {whole:.2f} times the memory of 5 ({step:.2f} above the baseline)")
    return int(grows["exact"][1] > FLAT or grows["unrolled"][1] < GROWN)


def measure(gradient: str, steps: int) -> tuple[float, float, float]:
    """Peak MB before and after one meta-gradient in this process, and its CPU seconds."""
    import torch

    from quickstudy import MAML, Episode, Examples, over_tasks
    from quickstudy.nets import Conv4

    torch.set_num_threads(1)
    torch.manual_seed(0)

    def examples(each: int, ways: int = 5) -> Examples:
        y = torch.eye(ways, dtype=torch.bool).repeat(each, 1)[None]
        return Examples(torch.rand(1, ways * each, 1, 28, 28), y, torch.ones(1, ways * each, dtype=torch.bool))

    method = MAML(Conv4((1, 28, 28)), 5, steps=steps, gradient=gradient)  # type: ignore[arg-type]
    episodes = Episode(examples(1), examples(15))
    base, started = peak_mb(), time.process_time()
    over_tasks(method.meta_loss, episodes, chunk=1).mean().backward()
    return base, peak_mb(), time.process_time() - started


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / SCALE


if __name__ == "__main__":
    sys.exit(main())
