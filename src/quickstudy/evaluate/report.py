"""Reports: one run, or several compared, as a page for people, Markdown for other pages, and JSON for machines."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quickstudy.core import files
from quickstudy.evaluate import findings as say
from quickstudy.evaluate.record import (
    Calibration,
    Comparison,
    DrawnEpisode,
    DrawnPoints,
    Interval,
    Record,
    Result,
)
from quickstudy.evaluate.report_cards import MEASURE
from quickstudy.evaluate.report_html import comparison_page, run_page

__all__ = ["comparison_markdown", "run_markdown", "write_comparison", "write_report"]


def write_report(record: Record, folder: str | Path) -> Path:
    """Write `report.html`, `report.md` and `report.json` of one run, each in one piece or not at all.

    The JSON is the record with the headline and the verdicts over floors added.

    Returns:
        The path of the page.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    verdicts = [
        {
            "floor": v.floor.name,
            "standing": v.standing,
            "lead": _finite(v.lead),
            "low": _finite(v.low),
            "high": _finite(v.high),
            "intervals_overlap": v.overlap,
        }
        for v in say.verdicts(record)
    ]
    values = {"headline": say.headline(record), "verdicts": verdicts, **record.to_json()}
    return _write(Path(folder), run_page(record), run_markdown(record), values)


def write_comparison(comparison: Comparison, folder: str | Path, records: Sequence[Record] = ()) -> Path:
    """Write `report.html`, `report.md` and `report.json` of several runs on the same episodes.

    Args:
        comparison: What was measured.
        folder: Where to; it is made if need be.
        records: The evaluations of the same runs, whose curves are then drawn together.

    Returns:
        The path of the page.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    values = {"headline": say.ranking(comparison), **comparison.to_json()}
    page = comparison_page(comparison, records)
    return _write(Path(folder), page, comparison_markdown(comparison), values)


def run_markdown(record: Record) -> str:
    """The report of one run as Markdown."""
    r, run = record.result, record.run
    lead = [f"# {_plain(run.name)}", f"**{_plain(say.headline(record))}**", _plain(say.best_floor(record))]
    if run.transductive:
        lead.append(f"> **TRANSDUCTIVE.** {say.TRANSDUCTIVE}")
    rows = [[r.name, *_scores(r), "", "this run"]]
    for v in say.verdicts(record):
        gain = f"{say.difference(v.lead, r.metric)} ({say.span(v.low, v.high, r.metric, signed=True)})"
        note = "ahead; intervals overlap" if v.standing == "ahead" and v.overlap else v.standing
        rows.append([v.floor.name, *_scores(v.floor), gain, note])
    head = ["method", MEASURE[r.metric], "over classes", "NLL", "the run's lead", "verdict"]
    parts = [*lead, "## Against the floors", _table(head, rows)]
    parts += [*_curves(record), *_calibration(record)]
    parts += ["## Foreign queries", say.novelty(record)] if record.novelty else []
    parts += ["## Measured by the method itself", _plain(say.examined(record))] if record.examined else []
    drawn = [_told(n, e) for n, e in enumerate(record.episodes, 1)]
    parts += ["## Test episodes", "\n".join(drawn)] if drawn else []
    return _document([*parts, "## How this was measured", *_facts(say.facts(record)), say.MEANING])


def comparison_markdown(comparison: Comparison) -> str:
    """The report of several runs as Markdown."""
    results = comparison.results
    metric = results[0].result.metric if results else "accuracy"
    parts = [f"# {_plain(' · '.join(c.result.name for c in results))}", f"**{_plain(say.ranking(comparison))}**"]
    if marked := [c.result.name for c in results if c.run.transductive]:
        parts.append(f"> **TRANSDUCTIVE:** {_plain(', '.join(marked))}. {say.TRANSDUCTIVE}")
    rows = [
        [
            c.result.name,
            *_scores(c.result),
            f"{c.run.steps:,} steps, {say.duration(c.run.seconds)}",
            c.run.normalisation,
        ]
        for c in results
    ]
    parts.append(_table(["run", MEASURE[metric], "over classes", "NLL", "training", "normalisation"], rows))
    pairs = [
        [
            f"{pair.a} − {pair.b}",
            f"{say.difference(pair.difference, metric)} ({say.span(pair.low, pair.high, metric, signed=True)})",
            say.chance(pair.p),
            say.chance(pair.p_holm),
        ]
        for pair in comparison.pairs
    ]
    if pairs:
        parts += ["## Differences", _table(["pair", f"difference, {MEASURE[metric]}", "p", "p, Holm"], pairs)]
    groups = {"Protocol": say.protocol_facts(comparison.protocol), "Machine": say.machine_facts(comparison.machine)}
    groups |= {f"Run {c.result.name}": say.run_facts(c.run) for c in results}
    return _document([*parts, "## How this was measured", *_facts(groups), say.MEANING])


def _curves(record: Record) -> list[str]:
    metric, parts = record.result.metric, []
    for title, axis, curve in (
        ("Adaptation", "inner steps", record.curves.steps),
        ("Shots", "shots", record.curves.shots),
    ):
        if curve is None:
            continue
        rows = [
            [
                str(x),
                f"{say.number(curve.mean[n], metric)} ({say.span(curve.low[n], curve.high[n], metric)})",
                *(say.number(means[n], metric) for means in curve.floors.values()),
            ]
            for n, x in enumerate(curve.x)
        ]
        head = [axis, f"{record.run.name}, {MEASURE[metric]}", *curve.floors]
        parts += [f"## {title}", _table(head, rows)]
    return parts


def _calibration(record: Record) -> list[str]:
    """What probabilities and intervals are worth, as said and at the fitted temperature."""
    again = record.recalibrated
    parts = []
    if record.calibration is not None:
        parts += ["## Calibration", say.calibrated(record.calibration), _reliability(record.calibration)]
    if record.intervals:
        parts += ["## Intervals", say.coverage(record.intervals), _intervals(record.intervals)]
    if again is not None:
        parts += [f"## {say.RECALIBRATED}", say.recalibrated(record)]
        parts += [_reliability(again.calibration)] if again.calibration else []
        parts += [_intervals(again.intervals)] if again.intervals else []
    return parts


def _reliability(c: Calibration) -> str:
    rows = [
        [f"{b.low:.2g}–{b.high:.2g}", f"{b.count:,}", f"{b.confidence:.3f}", f"{b.accuracy:.3f}"]
        for b in c.bins
        if b.count
    ]
    return _table(["confidence", "queries", "mean confidence", "right"], rows)


def _intervals(found: Sequence[Interval]) -> str:
    return _table(list(say.INTERVALS), say.interval_rows(found))


def _told(n: int, e: DrawnEpisode | DrawnPoints) -> str:
    if isinstance(e, DrawnPoints):
        return f"{n}. {len(e.support)} support points, {len(e.queries)} queries"
    right = sum(q.label == q.predicted for q in e.queries)
    return f"{n}. {right} of {len(e.queries)} queries drawn are right: {_plain(', '.join(e.classes))}"


def _facts(groups: dict[str, list[tuple[str, str]]]) -> list[str]:
    return [
        f"### {_plain(title)}\n\n" + "\n".join(f"- {term}: {_plain(value)}" for term, value in items)
        for title, items in groups.items()
    ]


def _scores(r: Result) -> list[str]:
    mean = f"{say.number(r.mean, r.metric)} ({say.span(r.low, r.high, r.metric)})"
    return [mean, say.span(r.class_low, r.class_high, r.metric), f"{r.nll:.3f}"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(
        f"| {' | '.join(cell if n == 1 else _plain(cell) for cell in line)} |" for n, line in enumerate(lines)
    )


def _plain(text: str) -> str:
    """Text that Markdown takes for text, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def _document(parts: Sequence[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _write(folder: Path, page: str, markdown: str, values: dict[str, Any]) -> Path:
    text = json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"
    for name, content in (("report.json", text), ("report.md", markdown), ("report.html", page)):
        files.write(folder / name, content)
    return folder / "report.html"
