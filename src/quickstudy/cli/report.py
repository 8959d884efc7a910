"""`quickstudy report`: write the pages of a run or a comparison again from what is recorded."""

from __future__ import annotations

from pathlib import Path

from quickstudy.cli import screen
from quickstudy.errors import DataError

__all__ = ["EXAMPLES", "report", "written"]

EXAMPLES = """\
Examples:
  quickstudy report runs/demo-glyphs
  quickstudy report runs/comparison
"""


def report(run: Path, /) -> int:
    """Write the report of an evaluated run, or of a comparison, from its records: HTML, Markdown and JSON.

    Args:
        run: The folder that holds evaluation.json or comparison.json.
    """
    from quickstudy.evaluate.record import Comparison, Record
    from quickstudy.evaluate.report import write_comparison, write_report

    if (run / "evaluation.json").exists():
        write_report(Record.read(run / "evaluation.json"), run)
    elif (run / "comparison.json").exists():
        write_comparison(Comparison.read(run / "comparison.json"), run)
    else:
        what = "holds neither evaluation.json nor comparison.json" if run.is_dir() else "is not a folder"
        raise DataError(f"{run} {what}; expected an evaluated run. Run `quickstudy evaluate {run}` first.")
    written(run)
    return 0


def written(folder: Path) -> None:
    """Say where the report is."""
    screen.say(f"\nReport: {folder / 'report.html'}  (also report.md and report.json)")
