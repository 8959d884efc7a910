"""`quickstudy evaluate`: an honest result for a trained run, beside the floors it must beat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickstudy.cli import screen
from quickstudy.cli.asked import USUAL, Asked
from quickstudy.cli.report import written
from quickstudy.cli.screen import Switch

if TYPE_CHECKING:
    from quickstudy.evaluate.record import Record

__all__ = ["EXAMPLES", "evaluate", "show"]

EXAMPLES = """\
The episodes are those of the run's own tasks unless you ask for others. Equal
settings ask the same episodes on every machine, so results can be compared.

Examples:
  quickstudy evaluate runs/demo-glyphs
  quickstudy evaluate runs/demo-glyphs --ways 20 --shots 5 --episodes 600
  quickstudy evaluate runs/demo-glyphs --split val --no-floors
"""


def evaluate(
    run: Path,
    /,
    *,
    asked: Asked = USUAL,
    floors: bool = True,
    minutes_for_floors: float | None = None,
    curves: bool = True,
    curve_episodes: int = 300,
    novelty: bool = True,
    json: Switch = False,
    quiet: Switch = False,
    threads: int | None = None,
) -> int:
    """Evaluate a trained run on tasks it has never seen, and write its report.

    The result is the mean over episodes with its 95% interval; beside it stand the floors: what conventional training
    and no training at all reach on the same episodes. evaluation.json and the report are written into the run's folder.

    Args:
        run: The run's folder.
        asked: Which episodes.
        floors: Train and measure what every result must beat.
        minutes_for_floors: Most minutes for training the floors' net; by default it takes 1,000 steps.
        curves: Measure curves over inner steps and shots.
        curve_episodes: Episodes for each point of a curve, at most.
        novelty: Measure how well queries of classes that the support lacks are told from the others.
        json: Print JSON, and nothing else, on standard output.
        quiet: Show no progress.
        threads: Threads for torch; by default as many as there are idle processors.
    """
    from quickstudy.cli.assess import Options, assess
    from quickstudy.core.workers import Workers
    from quickstudy.evaluate.report import write_report
    from quickstudy.train.run import Run

    opened = Run.open(run)
    options = Options(
        floors=floors,
        minutes=minutes_for_floors,
        curves=curves,
        novelty=novelty,
        curve_episodes=curve_episodes,
        quiet=quiet,
    )
    record = assess(opened, asked.of(opened), options)
    if not Workers.here().first:  # the first has the very same record, and writes it
        return 0
    record.save(run / "evaluation.json")
    write_report(record, run)
    if json:
        screen.json_out(record.to_json())
    else:
        show(record)
        written(run)
    return 0


def show(record: Record) -> None:
    """The result and the floors, as a table and a verdict."""
    from quickstudy.evaluate import findings

    metric = record.result.metric
    rows = [_row(record.result, "")]
    rows += [_row(verdict.floor, findings.difference(verdict.lead, metric)) for verdict in findings.verdicts(record)]
    headings = ["", "Accuracy" if metric == "accuracy" else "MSE", "95% over episodes", "over classes", "Lead"]
    screen.table(headings, rows, title=findings.test_episodes(record.protocol), right=[1])
    screen.say(f"\n{findings.headline(record)}", style="bold")
    if near := findings.best_floor(record):
        screen.say(near)
    if held := findings.coverage(record.intervals):
        screen.say(held)
    if again := findings.recalibrated(record):
        screen.say(again)
    if told := findings.novelty(record):
        screen.say(told)
    if own := findings.examined(record):
        screen.say(own)
    if record.run.transductive:
        screen.say(findings.TRANSDUCTIVE, style="yellow")


def _row(result: Any, lead: str) -> list[str]:
    from quickstudy.evaluate import findings

    metric = result.metric
    return [
        result.name,
        findings.score(result.mean, metric),
        findings.span(result.low, result.high, metric),
        findings.span(result.class_low, result.class_high, metric),
        lead,
    ]
