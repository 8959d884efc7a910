"""A leaderboard: every method of `recipes/leaderboards/BOARD.yaml`, trained on one budget and asked the same episodes.

    python benchmarks/leaderboard.py sines
    python benchmarks/leaderboard.py sines --family gradient      # half an hour
    python benchmarks/leaderboard.py omniglot --pace              # on an idle machine: the steps that fit in the budget
    python benchmarks/leaderboard.py omniglot --only protonet r2d2 --seeds 0 1 2

Runs are kept in `runs/leaderboards`, go on where they were interrupted, and are not trained again; records go to
`docs/records/leaderboards/BOARD`. `python recipes/leaderboards.py` makes the page of them. A budget of minutes is
turned into steps once, by `--pace`, so that a row can be repeated on any machine, busy or not.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from quickstudy.cli import recipe
from quickstudy.cli.assess import Options, floors, run_info
from quickstudy.cli.flags import overlay
from quickstudy.cli.session import with_net
from quickstudy.core.learner import Stepwise
from quickstudy.evaluate import Protocol, answer, calibration, intervals, result
from quickstudy.evaluate.record import Machine, Record, Result
from quickstudy.registry import family
from quickstudy.train.loop import fit
from quickstudy.train.run import Run, build_method, training_source
from quickstudy.train.state import TrainState, device_of

ROOT = Path(__file__).parent.parent
BOARDS = ROOT / "recipes" / "leaderboards"
RECORDS = ROOT / "docs" / "records" / "leaderboards"
RUNS = Path("runs") / "leaderboards"
OPEN_ENDED = 100_000
"""Steps that a run is given while its pace is measured."""
WATCHED = 8.0
"""Seconds for which steps are timed, at least five of them, after three that warm up."""


@dataclasses.dataclass(frozen=True)
class Board:
    """What a file of `recipes/leaderboards` asks for."""

    name: str
    common: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    protocols: dict[str, dict[str, Any]]
    floors_of: list[str]
    """Rows beside which floors are measured, once under each protocol."""
    usual: list[str]
    """The protocols of rows that do not name their `only` ones."""
    minutes: float | None = None

    @classmethod
    def read(cls, name: str) -> Board:
        """The board of a name."""
        held = yaml.safe_load((BOARDS / f"{name}.yaml").read_text(encoding="utf-8"))
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(name=name, **{key: value for key, value in held.items() if key in known})

    @property
    def paces(self) -> Path:
        """Where the steps that fit in the budget are kept."""
        return RECORDS / self.name / "paces.json"

    def recipe(self, row: str, seed: int = 0) -> dict[str, Any]:
        """What `quickstudy train --config` takes for a row; one that names fewer steps than the budget has takes those.

        Raises:
            SystemExit: the board has a budget, and the row neither names its steps nor was its pace ever measured.
        """
        own = {key: value for key, value in self.rows[row].items() if key != "only"}
        whole = overlay(self.common, own) | {"seed": seed}
        if self.minutes is None or "steps" in own:
            return whole
        paces = read_paces(self)
        if row not in paces:
            raise SystemExit(f"{row}: its pace was not measured. Run this with --pace on an idle machine first.")
        return whole | {"steps": self.fitting(paces[row]["seconds_per_step"])}

    def family(self, row: str) -> str:
        """The family of a row's method."""
        return family(self.rows[row]["method"]["name"])

    def fitting(self, seconds: float) -> int:
        """The steps of so many seconds that fit in the budget."""
        assert self.minutes is not None
        return round_down(60 * self.minutes / seconds)

    def asked(self, row: str) -> dict[str, dict[str, Any]]:
        """The protocols of a row."""
        return {title: self.protocols[title] for title in self.rows[row].get("only", self.usual)}


def read_paces(board: Board) -> dict[str, Any]:
    """What `--pace` measured, by row."""
    found: dict[str, Any] = json.loads(board.paces.read_text(encoding="utf-8")) if board.paces.exists() else {}
    return found


def pace(board: Board, row: str) -> None:
    """Measure how long a row's steps take here, and keep how many fit in the budget.

    Where that was measured before on such a machine, the quicker of both is kept: what else a machine does only slows
    steps.
    """
    own = {key: value for key, value in board.rows[row].items() if key != "only"}
    run = with_net(recipe.checked(overlay(board.common, own) | {"steps": OPEN_ENDED}).run)
    state = TrainState(build_method(run), run.training)
    ends: list[float] = []
    start = None
    for step in fit(state.method, training_source(run), state=state):
        ends.append(step.seconds)
        if len(ends) == 3:  # the first two measure the plan and warm up
            start = step.seconds
        if start is not None and len(ends) >= 8 and step.seconds - start > WATCHED:
            break
    steps = [later - earlier for earlier, later in itertools.pairwise(ends[2:])]
    seconds = median(steps)
    machine = dataclasses.asdict(Machine.here())
    entry = {"seconds_per_step": float(f"{seconds:.4g}"), "machine": machine}
    board.paces.parent.mkdir(parents=True, exist_ok=True)
    paces = read_paces(board)
    before = paces.get(row)
    if before is None or before["machine"] != machine or before["seconds_per_step"] > seconds:
        paces[row] = entry
    ordered = {name: paces[name] for name in board.rows if name in paces}
    board.paces.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    print(f"{board.name} {row}: {1e3 * seconds:.0f} ms a step, {board.fitting(seconds):,} steps", flush=True)


def round_down(number: float) -> int:
    """To two figures, so that the same machine on another day asks for the same."""
    digits = max(0, len(str(int(number))) - 2)
    return max(1, int(number) // 10**digits * 10**digits)


def folder_of(board: Board, row: str, seed: int) -> Path:
    """Where the run of a row is kept."""
    return RUNS / board.name / (plain(row) if seed == 0 else f"{plain(row)}-seed-{seed}")


def train(board: Board, row: str, seed: int) -> None:
    """Train a row to its end, from where it is."""
    folder = folder_of(board, row, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = ["--resume"]
    if not (folder / "run.yaml").exists():
        file = folder.with_suffix(".yaml")
        file.write_text(yaml.safe_dump(board.recipe(row, seed), sort_keys=False), encoding="utf-8")
        words = ["--config", str(file)]
    command = [sys.executable, "-m", "quickstudy", "train", *words, "--out", str(folder), "--quiet", "--threads", "1"]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise SystemExit(status)  # the command has said why


def measure(board: Board, row: str, seed: int) -> None:
    """Ask a trained row its protocols, and keep the records."""
    run = Run.open(folder_of(board, row, seed))
    for title, asked in board.asked(row).items():
        file = RECORDS / board.name / f"{run.folder.name}--{plain(title)}.json"
        found = record_of(board, run, row, asked) if not file.exists() else None
        if found is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            found.save(file)
            print(f"{board.name} {row}, seed {seed}, {title}: {found.result.mean:.4f}", flush=True)


def record_of(board: Board, run: Run, row: str, asked: dict[str, Any]) -> Record | None:
    """The record of a run under a protocol; None where its method cannot take it."""
    steps = asked.get("steps")
    protocol = Protocol(tasks=run.settings.tasks, **{key: value for key, value in asked.items() if key != "steps"})
    method, scalars = run.method()
    if not method.tags.any_ways and protocol.source().outputs != run.settings.tasks.source("train").outputs:
        return None
    if steps is not None and not isinstance(method, Stepwise):
        steps = None
    answers = answer(method, protocol, steps=steps, device=device_of(run.settings.training))
    wanted = row in board.floors_of and not has_floors(board, asked)
    lowest = floors(run, protocol, Options(quiet=True)) if wanted else ()
    return Record(
        run=run_info(run, method, scalars),
        protocol=protocol.info(),
        machine=Machine.here(),
        result=shortened(result(answers, row)),
        floors=tuple(dataclasses.replace(floor, values=()) for floor in lowest),
        calibration=calibration(answers),
        intervals=intervals(answers),
    )


def has_floors(board: Board, asked: dict[str, Any]) -> bool:
    """Whether floors were measured on these tasks before; in how many steps a row adapts is nothing to them."""

    def tasks(protocol: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in protocol.items() if key != "steps"}

    same = [title for title, other in board.protocols.items() if tasks(other) == tasks(asked)]
    files = (file for title in same for file in (RECORDS / board.name).glob(f"*--{plain(title)}.json"))
    return any(Record.read(file).floors for file in files)


def plain(text: str) -> str:
    """A title as file names have it."""
    return text.replace(", ", "-").replace(" ", "-")


def shortened(found: Result) -> Result:
    """The same with the episodes' values to six figures: enough for paired tests, at a third of the size."""
    return dataclasses.replace(found, values=tuple(float(f"{value:.6g}") for value in found.values))


def one(board: Board, row: str, seed: int) -> None:
    """Everything for one row and seed."""
    start = time.monotonic()
    train(board, row, seed)
    measure(board, row, seed)
    print(f"{board.name} {row}, seed {seed}: {(time.monotonic() - start) / 60:.1f} minutes in all", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("board", choices=sorted(path.stem for path in BOARDS.glob("*.yaml")))
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows alone")
    parser.add_argument("--family", help="rows of the methods in this folder of quickstudy.methods alone")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of weights and training episodes")
    parser.add_argument("--pace", action="store_true", help="measure the steps that fit in the budget, and stop")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1)), help="rows at a time, a thread each")
    asked = parser.parse_args()
    board = Board.read(asked.board)
    for row in asked.only or ():
        if row not in board.rows:
            parser.error(f"no row {row!r}; the board has {', '.join(board.rows)}")
    rows = [row for row in asked.only or board.rows if asked.family in (None, board.family(row))]
    if not rows:
        parser.error(f"none of these rows is of the family {asked.family!r}")
    if asked.pace:
        if board.minutes is None:
            parser.error(f"{board.name} has no budget of minutes: its steps stand in its file")
        for row in rows:
            pace(board, row)
        return 0
    todo = [(row, seed) for seed in asked.seeds for row in rows]
    start = time.monotonic()
    if len(todo) == 1 or asked.jobs == 1:
        for row, seed in todo:
            one(board, row, seed)
        return 0
    own = [sys.executable, __file__, board.name, "--jobs", "1", "--only"]

    def apart(job: tuple[str, int]) -> int:
        return subprocess.run([*own, job[0], "--seeds", str(job[1])], check=False).returncode

    with ThreadPoolExecutor(asked.jobs) as pool:
        codes = list(pool.map(apart, todo))
    for (row, seed), code in zip(todo, codes, strict=True):
        if code:
            print(f"{row}, seed {seed}: failed with exit status {code}", file=sys.stderr)
    print(f"{board.name}: {len(todo)} rows in {(time.monotonic() - start) / 60:.0f} minutes")
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
