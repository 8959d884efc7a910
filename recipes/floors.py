"""Measure the floors that a record lacks, on its own episodes, and write them into it.

    python recipes/floors.py docs/records/omniglot-protonet-20-way.json
    python recipes/leaderboards.py && python recipes/results.py

The run itself is not needed: floors share only its tasks, its net and its seed with it, and the record tells them. A
record that has floors is left as it is. What is trained conventionally is kept under runs/floors, for all records of
the same tasks and net.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from quickstudy.core.settings import load
from quickstudy.errors import DataError
from quickstudy.evaluate import Protocol, evaluate_floors
from quickstudy.evaluate.record import Record
from quickstudy.train.floors import CONVENTIONAL, make_floors
from quickstudy.train.run import RunSettings
from quickstudy.train.settings import Training

RUNS = Path("runs/floors")


def with_floors(record: Record, folder: Path, training: Training = CONVENTIONAL) -> Record:
    """The record with its floors, trained under `folder` and asked the episodes of the record.

    Raises:
        DataError: the data on this machine makes other episodes of the record's protocol.
    """
    asked, run = record.protocol, record.run
    tasks = load("tasks", asked.tasks)
    protocol = Protocol(tasks=tasks, split=asked.split, episodes=asked.episodes, seed=asked.seed)
    if protocol.digest != asked.digest:
        raise DataError(f"{run.name}: these are episodes {protocol.digest}, the record's are {asked.digest}.")
    chosen = RunSettings(
        method=load("method", {"name": run.method, **run.method_settings}),
        tasks=tasks,
        net=load("net", run.net) if run.net else None,
        training=dataclasses.replace(training, seed=run.seed, split=run.training.get("split", "train")),
    )
    found = evaluate_floors(make_floors(chosen, folder, chosen.training), protocol)
    return dataclasses.replace(record, floors=tuple(dataclasses.replace(floor, values=()) for floor in found))


def main() -> None:
    """Ask for the floors of each record named, where it has none."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", type=Path, help="evaluation.json files, or those under docs/records")
    for path in parser.parse_args().records:
        record = Record.read(path)
        if record.floors:
            print(f"{path.stem}: has its floors")
            continue
        known = with_floors(record, RUNS)
        known.save(path)
        best = (min if record.result.metric == "mse" else max)(known.floors, key=lambda floor: floor.mean)
        print(f"{path.stem}: {record.result.mean:.4f}, best floor {best.name} {best.mean:.4f}", flush=True)


if __name__ == "__main__":
    main()
