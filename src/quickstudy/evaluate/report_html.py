"""The report as one HTML page that needs nothing else: styles, plots and images are inside, scripts there are none."""

from __future__ import annotations

import math
from collections.abc import Sequence

from quickstudy.evaluate import findings as say
from quickstudy.evaluate import plots
from quickstudy.evaluate.markup import Cell, element, facts, listed, page, section, table
from quickstudy.evaluate.plots import Row
from quickstudy.evaluate.record import Comparison, Pair, Record, Result
from quickstudy.evaluate.report_cards import MEASURE, curves, episodes, intervals

__all__ = ["comparison_page", "run_page"]

_LOOKS = {"ahead": ("good", "✓ ahead"), "level": ("bad", "≈ level with"), "behind": ("bad", "✗ behind")}


def run_page(record: Record) -> str:
    """The page of one run."""
    parts = [
        _header(record),
        _floors(record),
        section("How it learned and adapts", curves([record])),
        section("Test episodes", episodes(record.episodes)),
        section("How this was measured", _groups(say.facts(record))),
    ]
    return page(f"{record.run.name}: {say.spoken(record.result)}", parts, say.MEANING)


def comparison_page(comparison: Comparison, records: Sequence[Record] = ()) -> str:
    """The page of several runs on the same episodes; `records` of the same runs add their curves."""
    title = " · ".join(c.result.name for c in comparison.results)
    transductive = [c.result.name for c in comparison.results if c.run.transductive]
    groups = {
        "Protocol": say.protocol_facts(comparison.protocol),
        **{f"Run {c.result.name}": say.run_facts(c.run) for c in comparison.results},
        "Machine": say.machine_facts(comparison.machine),
    }
    parts = [
        f"<header>{element('h1', title)}{element('p', 'A comparison by quickstudy', 'soft small')}"
        f"{element('p', say.ranking(comparison), 'lead strong')}{_loud(transductive)}</header>",
        _competitors(comparison),
        _pairs(comparison),
        section("How they learned and adapt", curves(records)),
        section("How this was measured", _groups(groups)),
    ]
    return page(title, parts, say.MEANING)


def _header(record: Record) -> str:
    r, p = record.result, record.protocol
    what = "accuracy" if r.metric == "accuracy" else "mean squared error"
    on = f"{what} on {say.test_episodes(p)} of {p.tasks.get('name', 'tasks')}"
    missed = any(v.standing != "ahead" for v in say.verdicts(record))
    look, mark = ("soft", "") if not record.floors else ("bad", "✗ ") if missed else ("good", "✓ ")
    verdict = say.against_floors(record)
    return (
        f"<header>{element('h1', record.run.name)}"
        f"{element('p', f'A run of {record.run.method}, evaluated by quickstudy', 'soft small')}"
        f'<p class="hero num">{element("b", say.score(r.mean, r.metric))} '
        f"{element('span', f'({say.span(r.low, r.high, r.metric)})')}</p>{element('p', on, 'lead')}"
        f'<p class="verdict">{element("span", f"{mark}{verdict[:1].upper()}{verdict[1:]}.", look)} '
        f"{element('span', say.best_floor(record))}</p>{_loud([record.run.name] if record.run.transductive else [])}"
        "</header>"
    )


def _loud(names: Sequence[str]) -> str:
    if not names:
        return ""
    which = f"{', '.join(names)}. {say.TRANSDUCTIVE}"
    return f'<p class="loud"><b>TRANSDUCTIVE</b> {element("span", which)}</p>'


def _floors(record: Record) -> str:
    r = record.result
    ranked = sorted(say.verdicts(record), key=lambda v: v.lead if math.isfinite(v.lead) else math.inf)
    order = "higher" if r.metric == "accuracy" else "lower"
    caption = f"With 95 % intervals; {order} is better. The run's lead is taken on the same episodes where it can be."
    head = ["method", MEASURE[r.metric], "the run is", "over classes", "NLL, nats"]
    rows = [[Cell(r.name), _score(r), Cell("", look="words"), *_others(r)]]
    for v in ranked:
        look, words = _LOOKS[v.standing]
        note = "; intervals overlap" if v.overlap and v.standing == "ahead" else ""
        small = f"{say.span(v.low, v.high, r.metric, signed=True)}{note}"
        verdict = Cell(f"{words} {say.difference(v.lead, r.metric)}", small, look)
        rows.append([Cell(v.floor.name), _score(v.floor), verdict, *_others(v.floor)])
    plot = intervals("floors", [r, *(v.floor for v in ranked)], own=0)
    note = "Floors are simple methods on the same episodes: what any result must beat."
    if not ranked:
        note = "No floor was measured, so nothing says how easy these episodes are."
    return section("Against the floors" if ranked else "Result", _beside(note, plot, table(caption, head, rows, own=0)))


def _competitors(comparison: Comparison) -> str:
    if not comparison.results:
        return ""
    results = [c.result for c in comparison.results]
    head = ["run", MEASURE[results[0].metric], "over classes", "NLL, nats", "training", "normalisation"]
    rows = [
        [
            Cell(c.result.name),
            _score(c.result),
            *_others(c.result),
            Cell(f"{c.run.steps:,} steps", say.duration(c.run.seconds)),
            Cell(c.run.normalisation, "TRANSDUCTIVE" if c.run.transductive else "", "words"),
        ]
        for c in comparison.results
    ]
    note = f"{say.test_episodes(comparison.protocol)}, the same for every run."
    return section("Results", _beside(note, intervals("runs", results), table("With 95 % intervals.", head, rows)))


def _pairs(comparison: Comparison) -> str:
    if not comparison.pairs:
        return ""
    metric = comparison.results[0].result.metric
    unit = "points of accuracy" if metric == "accuracy" else MEASURE[metric]
    scale = 100 if metric == "accuracy" else 1

    def drawn(pair: Pair) -> Row:
        value = say.difference(pair.difference, metric)
        return Row(f"{pair.a} − {pair.b}", scale * pair.difference, scale * pair.low, scale * pair.high, value)

    def written(pair: Pair) -> list[Cell]:
        interval = say.span(pair.low, pair.high, metric, signed=True)
        words = "differ" if pair.p_holm < say.ALPHA else "cannot be told apart"
        chance = [Cell(say.chance(p)) for p in (pair.p, pair.p_holm)]
        name = Cell(f"{pair.a} − {pair.b}")
        return [name, Cell(say.difference(pair.difference, metric), interval), *chance, Cell(words, look="words")]

    lines = [drawn(pair) for pair in comparison.pairs]
    described = f"Differences in {unit} with 95 % intervals. {listed((line.label, line.value) for line in lines)}"
    plot = plots.intervals("pairs", described, lines, f"difference, {unit}", zero=True)
    caption = "p: of the sign-flip test that neither is better; Holm's allows for the number of pairs."
    head = ["pair", f"difference, {unit}", "p", "p, Holm", "verdict"]
    note = "Each difference is taken episode by episode, with its 95 % interval."
    return section(
        "Differences", _beside(note, plot, table(caption, head, [written(pair) for pair in comparison.pairs]))
    )


def _beside(note: str, plot: str, numbers: str) -> str:
    return (
        f'<div class="beside"><div class="card">{element("p", note, "soft small")}{plot}</div>'
        f'<div class="card">{numbers}</div></div>'
    )


def _groups(groups: dict[str, list[tuple[str, str]]]) -> str:
    return f'<div class="groups">{"".join(facts(title, items) for title, items in groups.items())}</div>'


def _score(r: Result) -> Cell:
    return Cell(say.number(r.mean, r.metric), say.span(r.low, r.high, r.metric))


def _others(r: Result) -> list[Cell]:
    nats = f"{r.nll:.3f}" if math.isfinite(r.nll) else "not finite"
    return [Cell(say.span(r.class_low, r.class_high, r.metric)), Cell(nats)]
