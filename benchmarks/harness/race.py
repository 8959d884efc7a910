"""Contenders run side by side: a process each, all given the same numbers, turn by turn in one run."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from harness.environments import Environments
from harness.ratios import ratio, spread
from harness.settings import Setting, draw, save

__all__ = ["Contender", "Worker", "race", "timed"]

BENCHMARKS = Path(__file__).resolve().parent.parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "PYTHONWARNINGS": "ignore",
}
LOSS = 5e-3
"""How far losses may be from the reference's, in float32."""
DOUBLE, SINGLE, COMPILED = 1e-8, 0.3, 1e-4
"""How far gradients may be from the reference's: in float64, in float32 beside that, and in float32 alone. Float64 is
the check: over sixteen tasks of five steps, float32 puts a maximum or two on the other side of its kink."""
SHORTEST = 0.15
"""Seconds that a turn lasts at least: quick steps are repeated."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """Who runs: the name in the tables, the module in `contenders`, its environment and its options."""

    name: str
    module: str
    environment: str = "torch"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    same_maths: bool = True
    """Its loss and gradient are to agree with the reference's."""
    work: int = 1
    """Items that a step does: times are of one item."""
    needs: str = ""
    """The peer that must be installed, where it is not called as the module is."""
    double: bool = True
    """It can be asked for them in float64 too."""


class Worker:
    """A process that runs one contender; a context manager."""

    def __init__(
        self, python: str | Path, script: str = "worker.py", environment: dict[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [str(python), str(BENCHMARKS / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCH_LOUD") else subprocess.DEVNULL,
            text=True,
            env=os.environ | ONE_THREAD | (environment or {}),
            cwd=tempfile.gettempdir(),
        )

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Request something and wait for the reply."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"do": do} | what) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"error": f"the process ended with exit status {self.process.wait()}"}
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def race(
    setting: Setting,
    contenders: list[Contender],
    environments: Environments,
    *,
    rounds: int = 5,
) -> dict[str, Any]:
    """Time all contenders on one setting, and check that they compute the same.

    The first is the reference: losses and gradients are compared with its own, and the others' times are divided by
    its times. The comparison that counts is in float64, where it can be had; float32 ones are noted, and held to less:
    with batch norm over few images rounding is magnified. One that disagrees, fails or cannot be installed is named
    with the reason and not timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        save(arrays, draw(setting))
        workers: dict[str, Worker] = {}
        found: dict[str, Any] = {}
        try:
            for contender in contenders:
                found[contender.name] = _enter(workers, contender, setting, arrays, environments)
            _compare(found, {c.name: c for c in contenders}, Path(folder))
            for name in [name for name, row in found.items() if "skipped" in row and name in workers]:
                workers.pop(name).__exit__()
            _take_turns(workers, found, rounds, dict.fromkeys(workers, 1))
        finally:
            for worker in workers.values():
                worker.__exit__()
    return {"setting": dataclasses.asdict(setting), "rows": _ratios(found, contenders[0].name)}


def timed(
    setting: Setting, contenders: list[Contender], environments: Environments, arrays: Path, *, rounds: int
) -> list[dict[str, Any]]:
    """As `race`, for work without a loss: nothing is compared. `arrays` is what all are given."""
    workers: dict[str, Worker] = {}
    found: dict[str, Any] = {}
    try:
        for contender in contenders:
            python, reason = environments.python_for(contender.needs or contender.module, contender.environment)
            found[contender.name] = {"skipped": reason}
            if python is None:
                continue
            worker = workers[contender.name] = Worker(python)
            what = {"setting": dataclasses.asdict(setting), "arrays": str(arrays), "options": contender.options}
            built = worker.ask("build", module=contender.module, **what)
            if "seconds" in built:
                built = worker.ask("turn", times=1)
            found[contender.name] = {} if "cpu" in built else {"skipped": built.get("absent") or built["error"]}
        for name in [name for name, row in found.items() if "skipped" in row and name in workers]:
            workers.pop(name).__exit__()
        _take_turns(workers, found, rounds, {c.name: c.work for c in contenders})
    finally:
        for worker in workers.values():
            worker.__exit__()
    return _ratios(found, contenders[0].name)


def _enter(
    workers: dict[str, Worker], contender: Contender, setting: Setting, arrays: Path, environments: Environments
) -> dict[str, Any]:
    python, reason = environments.python_for(contender.needs or contender.module, contender.environment)
    if python is None:
        return {"skipped": reason}
    worker = workers[contender.name] = Worker(python)
    what = {"module": contender.module, "setting": dataclasses.asdict(setting), "arrays": str(arrays)}
    file = f"{len(workers)}.npy"
    if contender.same_maths and contender.double:
        wide = worker.ask("double", **what, options=contender.options, to=str(arrays.parent / f"double-{file}"))
        if "loss" not in wide:
            return {"skipped": wide.get("absent") or wide["error"]}
    built = worker.ask("build", **what, options=contender.options)
    if "seconds" not in built:
        return {"skipped": built.get("absent") or built["error"]}
    first = worker.ask("result", to=str(arrays.parent / file))
    if "loss" not in first:
        return {"skipped": first.get("absent") or first["error"]}
    row = {"loss": first["loss"], "first_s": built["seconds"] + first["seconds"], "file": file}
    return row | ({"options": contender.options} if contender.options else {})


def _compare(found: dict[str, Any], contenders: dict[str, Contender], folder: Path) -> None:
    """Note how far each contender's loss and gradient are from the reference's, and skip those too far."""
    reference = next(iter(found))
    if "file" not in found[reference]:
        raise SystemExit(f"the reference could not run: {found[reference]['skipped']}")
    files = {name: row.pop("file") for name, row in found.items() if "file" in row}
    for name, file in files.items():
        row, contender = found[name], contenders[name]
        row["loss_apart"] = abs(row["loss"] - found[reference]["loss"]) / abs(found[reference]["loss"])
        row["gradient_apart"] = _apart(folder, file, files[reference])
        if not contender.same_maths:
            continue
        held = [("loss_apart", LOSS), ("gradient_apart", SINGLE if contender.double else COMPILED)]
        if contender.double:
            row["gradient_apart_float64"] = _apart(folder, f"double-{file}", f"double-{files[reference]}")
            held.append(("gradient_apart_float64", DOUBLE))
        for what, limit in held:
            if not row[what] <= limit:
                row["skipped"] = f"{what.replace('_', ' ')} {row[what]:.1e} from the reference's, beyond {limit:.0e}"


def _apart(folder: Path, file: str, reference: str) -> float:
    truth = np.load(folder / reference)
    return float(np.linalg.norm(np.load(folder / file) - truth) / np.linalg.norm(truth))


def _take_turns(workers: dict[str, Worker], found: dict[str, Any], rounds: int, work: dict[str, int]) -> None:
    times = {}
    for name, worker in workers.items():  # the second step of each says how long one takes
        once = max(worker.ask("turn", times=1)["wall"], 1e-6)
        times[name] = max(1, round(SHORTEST / once))
        found[name] |= {"cpu_s": [], "wall_s": []}
    names = list(workers)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            took = workers[name].ask("turn", times=times[name])
            found[name]["cpu_s"].append(took["cpu"] / work[name])
            found[name]["wall_s"].append(took["wall"] / work[name])
            found[name]["peak_mb"] = took["peak_mb"]
        print(f"  round {number + 1} of {rounds}", file=sys.stderr, flush=True)


def _ratios(found: dict[str, Any], reference: str) -> list[dict[str, Any]]:
    rows = []
    for name, row in found.items():
        whole = {"name": name} | row
        if "cpu_s" in row:
            for clock in ("cpu", "wall"):
                whole[f"{clock}_ms"] = spread([1e3 * t for t in row[f"{clock}_s"]])
                whole[f"{clock}_ratio"] = ratio(row[f"{clock}_s"], found[reference][f"{clock}_s"])
        rows.append(whole)
    return rows
