"""How many five-way one-shot Omniglot episodes (15 queries a class) are sampled a second, in batches.

    OMP_NUM_THREADS=2 python benchmarks/sampling.py

Every episode is 80 images of 28 by 28 gathered into the tensors that methods take; every batch is of new episodes.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from quickstudy.tasks.omniglot import Omniglot


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--batch", type=int, default=256, help="episodes a batch")
    options.add_argument("--seconds", type=float, default=2.0, help="how long each of five rounds lasts")
    chosen = options.parse_args()
    source = Omniglot().source("train")
    source.fingerprint  # noqa: B018 - reads the whole memory map once
    batches, rates = source.batches(chosen.batch), []
    for _ in range(5):
        start, drawn = time.perf_counter(), 0
        while time.perf_counter() - start < chosen.seconds:
            drawn += len(next(batches).support.x)
        rates.append(drawn / (time.perf_counter() - start))
    print(
        f"{statistics.median(rates):,.0f} episodes a second (median of five rounds, {min(rates):,.0f} to "
        f"{max(rates):,.0f}; {chosen.batch} a batch, {torch.get_num_threads()} threads)"
    )


if __name__ == "__main__":
    main()
