"""`quickstudy compare`: several runs on the very same episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quickstudy.cli import screen
from quickstudy.cli.asked import USUAL, Asked
from quickstudy.cli.report import written
from quickstudy.cli.screen import Switch
from quickstudy.errors import DataError, SettingsError

if TYPE_CHECKING:
    from quickstudy.evaluate import Protocol
    from quickstudy.evaluate.record import Comparison, Record

__all__ = ["EXAMPLES", "compare"]

EXAMPLES = """\
The episodes are those of the first run's tasks unless you ask for others. A run
that was evaluated on the same episodes is not evaluated again.

Examples:
  quickstudy compare runs/maml-glyphs-1 runs/protonet-glyphs-1
  quickstudy compare runs/a runs/b runs/c --shots 5 --out runs/five-shot
"""


def compare(
    *runs: Path,
    asked: Asked = USUAL,
    out: Path | None = None,
    json: Switch = False,
    quiet: Switch = False,
    threads: int | None = None,
) -> int:
    """Compare trained runs on the same episodes: who is ahead, by how much, and whether chance could explain it.

    Differences are taken episode by episode, with their 95% intervals and p-values of sign-flip tests, adjusted for the
    number of pairs (Holm).

    Args:
        runs: Two runs' folders or more.
        asked: Which episodes.
        out: Where the report goes; by default `comparison` beside the first run.
        json: Print JSON, and nothing else, on standard output.
        quiet: Show no progress.
        threads: Threads for torch; by default as many as there are idle processors.
    """
    from quickstudy.evaluate.report import write_comparison
    from quickstudy.train.run import Run

    if len(runs) < 2:
        raise SettingsError(f"compare takes two runs or more, got {len(runs)}. `quickstudy evaluate` takes one.")
    protocol = asked.of(Run.open(runs[0]))
    records = _records(runs, protocol, quiet)
    comparison = _compared(protocol, records)
    folder = out or runs[0].resolve().parent / "comparison"
    write_comparison(comparison, folder, records)
    comparison.save(folder / "comparison.json")
    if json:
        screen.json_out(comparison.to_json())
    else:
        _show(comparison)
        written(folder)
    return 0


def _records(runs: Sequence[Path], protocol: Protocol, quiet: bool) -> list[Record]:
    """An evaluation of each run, called by its folder's name, or its whole path where two folders share a name."""
    names = [run.resolve().name for run in runs]
    records = []
    for run, name in zip(runs, names, strict=True):
        record = _record(run, protocol, quiet)
        called = name if names.count(name) == 1 else str(run)
        named = dataclasses.replace(record.result, name=called)
        records.append(dataclasses.replace(record, result=named, run=dataclasses.replace(record.run, name=called)))
    return records


def _record(run: Path, protocol: Protocol, quiet: bool) -> Record:
    from quickstudy.cli.assess import Options, assess
    from quickstudy.evaluate.record import Record
    from quickstudy.train.run import Run

    opened = Run.open(run)
    try:
        known = Record.read(run / "evaluation.json")
    except DataError:  # not evaluated yet, or no longer readable
        known = None
    if known and known.protocol.digest == protocol.digest and known.run.steps == opened.method()[1]["number"]:
        return known
    options = Options(floors=False, curves=False, recalibrated=False, novelty=False, examined=False, quiet=quiet)
    return assess(opened, protocol, options)


def _compared(protocol: Protocol, records: Sequence[Record]) -> Comparison:
    from quickstudy.evaluate import compare as pairs
    from quickstudy.evaluate.record import Comparison, Competitor, Machine

    return Comparison(
        protocol=protocol.info(),
        machine=Machine.here(),
        results=tuple(Competitor(record.run, record.result) for record in records),
        pairs=pairs([record.result for record in records]),
    )


def _show(comparison: Comparison) -> None:
    from quickstudy.evaluate import findings

    results = [competitor.result for competitor in comparison.results]
    metric = results[0].metric
    headings = ["", "Accuracy" if metric == "accuracy" else "MSE", "95% over episodes"]
    rows = [[r.name, findings.score(r.mean, metric), findings.span(r.low, r.high, metric)] for r in results]
    screen.table(headings, rows, title=findings.test_episodes(comparison.protocol), right=[1])
    screen.say("")
    pairs = [
        [
            f"{pair.a} - {pair.b}",
            findings.difference(pair.difference, metric),
            findings.span(pair.low, pair.high, metric, signed=True),
            findings.chance(pair.p_holm),
        ]
        for pair in comparison.pairs
    ]
    screen.table(["Difference", "", "95% interval", "p (Holm)"], pairs, right=[1])
    screen.say(f"\n{findings.ranking(comparison)}", style="bold")
