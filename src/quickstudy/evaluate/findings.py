"""What a record says, in words: its headline, how it stands against each floor, and the facts behind it.

The page, the Markdown and the JSON of a report all say these same sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quickstudy.core.predictions import Metric
from quickstudy.evaluate.record import (
    Calibration,
    Comparison,
    Interval,
    Machine,
    ProtocolInfo,
    Record,
    Result,
    RunInfo,
    Sizes,
)
from quickstudy.evaluate.statistics import t_interval

__all__ = [
    "ALPHA",
    "INTERVALS",
    "MEANING",
    "RECALIBRATED",
    "TRANSDUCTIVE",
    "Verdict",
    "against_floors",
    "best_floor",
    "calibrated",
    "chance",
    "choice",
    "coverage",
    "difference",
    "duration",
    "episode_size",
    "examined",
    "facts",
    "headline",
    "interval_rows",
    "machine_facts",
    "novelty",
    "number",
    "protocol_facts",
    "ranking",
    "recalibrated",
    "run_facts",
    "score",
    "sizes",
    "span",
    "spoken",
    "standing",
    "test_episodes",
    "verdicts",
]

MEANING = (
    "Each interval holds the method's true mean over all episodes of this kind in about 95 of 100 such evaluations: "
    "it measures the luck of the episodes drawn, not the luck of the training seed. Intervals over classes "
    "resample the test classes instead, and say how far the result would carry to other classes of the same kind."
)
TRANSDUCTIVE = (
    "Queries are normalised together, so each prediction depends on the other queries of its episode. "
    "Compare this result only with other transductive ones."
)

INTERVALS = ("interval", "values inside", "mean width")
"""The headings of `interval_rows`."""

RECALIBRATED = "At one temperature"
"""The heading of what predictions are worth at the fitted one."""

ALPHA = 0.05
"""The p-value, after Holm, below which two runs are said to differ."""

Standing = Literal["ahead", "level", "behind"]

_NORMALISATION = {
    "support": "statistics of the support set alone, frozen for the queries",
    "population": "statistics of the training tasks, frozen",
    "transductive": "batch statistics, of the queries too",
    "group": "within each example, over groups of channels",
    "layer": "within each example, over all channels",
    "running": "running statistics, as in ordinary training",
    "none": "none",
}


@dataclass(frozen=True)
class Verdict:
    """How a run stands against one floor."""

    floor: Result
    standing: Standing
    lead: float
    """How much better the run is, in the metric's own unit: positive is better for either metric."""
    low: float
    """Ends of the 95% interval of the lead over episodes; nan where episodes cannot be paired."""
    high: float
    overlap: bool
    """Whether the two results' own intervals overlap."""

    @property
    def paired(self) -> bool:
        """Whether the lead was measured episode by episode."""
        return math.isfinite(self.low)


def verdicts(record: Record) -> list[Verdict]:
    """The run against every floor: by the lead on the same episodes where there is one, else by overlap."""
    return [_verdict(record.result, floor) for floor in record.floors]


def standing(low: float, high: float) -> Standing:
    """What an interval of a lead says: "level" where it holds zero, or is not a number."""
    return "ahead" if low > 0 else "behind" if high < 0 else "level"


def headline(record: Record) -> str:
    """The result in one sentence, with every floor it does not beat.

    Such as "98.6 % (98.4-98.8) on 5-way 1-shot, 1,000 test episodes; ahead of every floor." (with an en dash).
    """
    p, r = record.protocol, record.result
    return f"{spoken(r)} on {test_episodes(p)}; {against_floors(record)}."


def against_floors(record: Record) -> str:
    """Whether the run beats every floor, and which it does not."""
    if not record.floors:
        return "no floor was measured"
    missed = [f"{v.floor.name} ({v.standing})" for v in verdicts(record) if v.standing != "ahead"]
    return f"does NOT beat: {', '.join(missed)}" if missed else "ahead of every floor"


def best_floor(record: Record) -> str:
    """The smallest lead in words, with whether it rests on the pairing of episodes alone; "" without floors."""
    known = [v for v in verdicts(record) if math.isfinite(v.lead)]
    if not known:
        return ""
    v = min(known, key=lambda v: v.lead)
    metric = record.result.metric
    by = f"by {difference(abs(v.lead), metric).lstrip('+')}{'' if metric == 'mse' else ' points'}"
    which = (
        f"The best floor is {v.floor.name} at {spoken(v.floor)}; the run is {'ahead' if v.lead >= 0 else 'behind'} {by}"
    )
    if v.paired:
        which += f" (95 % interval of the lead on the same episodes: {span(v.low, v.high, metric, signed=True)})"
    close = [w.floor.name for w in known if w.overlap and w.standing == "ahead"]
    note = f" Its own interval overlaps that of {', '.join(close)}: only the pairing of episodes tells them apart."
    return f"{which}.{note if close else ''}"


def ranking(comparison: Comparison) -> str:
    """Who won, in one sentence: the leader, and those it cannot be told apart from."""
    results = sorted((c.result for c in comparison.results), key=_better)
    if len(results) < 2:
        return f"{results[0].name}: {spoken(results[0])}." if results else "No runs."
    leader = results[0]
    leads = {}
    for pair in comparison.pairs:
        sign = 1 if (pair.a == leader.name) == (leader.metric == "accuracy") else -1
        if leader.name in (pair.a, pair.b):
            other = pair.b if pair.a == leader.name else pair.a
            leads[other] = sign * pair.difference > 0 and pair.p_holm < ALPHA
    level = [r.name for r in results[1:] if not leads.get(r.name, False)]
    where = f"{spoken(leader)} on {test_episodes(comparison.protocol)}"
    if level:
        return f"{leader.name} scores best, {where}, but cannot be told apart from: {', '.join(level)}."
    return f"{leader.name} is ahead of {'the other' if len(results) == 2 else 'all the others'}: {where}."


def coverage(intervals: Sequence[Interval]) -> str:
    """What the widest intervals hold and how wide they are, in one sentence; "" where there are none.

    Such as "Central 95 % intervals hold 93.1 % of the values, and are 1.20 wide on average."
    """
    if not intervals:
        return ""
    widest = max(intervals, key=lambda each: each.level)
    return (
        f"Central {100 * widest.level:.0f} % intervals hold {score(widest.coverage, 'accuracy')} of the values, and "
        f"are {number(widest.width, 'mse')} wide on average."
    )


def interval_rows(intervals: Sequence[Interval]) -> list[list[str]]:
    """Level, coverage and mean width of each interval, under the headings `INTERVALS`."""
    return [
        [f"{100 * each.level:.0f} %", score(each.coverage, "accuracy"), number(each.width, "mse")] for each in intervals
    ]


def calibrated(c: Calibration) -> str:
    """The three figures of class probabilities, in one sentence."""
    return f"Expected calibration error {100 * c.ece:.1f} %, NLL {c.nll:.3g} nats, Brier score {c.brier:.3g}."


def recalibrated(record: Record) -> str:
    """What predictions are worth at the fitted temperature; "" where none was fitted.

    Such as "At a temperature of 1.32, fitted on 128 validation tasks: expected calibration error 0.9 %, NLL 0.210 nats,
    Brier score 0.115."
    """
    r = record.recalibrated
    if r is None:
        return ""
    lead = f"At a temperature of {r.temperature:.3g}, fitted on {r.episodes} validation tasks: "
    if r.calibration is None:
        return f"{lead}NLL {r.nll:.3g} nats. {coverage(r.intervals)}".rstrip()
    told = calibrated(r.calibration)
    return lead + told[0].lower() + told[1:]


def novelty(record: Record) -> str:
    """How well foreign queries are told, in one sentence; "" where that was not measured."""
    n = record.novelty
    if n is None:
        return ""
    return (
        f"Queries of no class of the support are told by {n.score} with AUROC {n.auroc:.3f}: where "
        f"{score(n.kept, 'accuracy')} of the others are kept, {score(n.flagged, 'accuracy')} of them are flagged."
    )


def examined(record: Record) -> str:
    """What the method measured of itself, in one sentence; "" where it measured nothing.

    Such as "Measured by the method itself: residual of the linear system 0.0213 (0.0190-0.0236)." (with an en dash).
    """
    said = [f"{each.name} {number(each.mean, 'mse')} ({span(each.low, each.high, 'mse')})" for each in record.examined]
    return f"Measured by the method itself: {', '.join(said)}." if said else ""


def facts(record: Record) -> dict[str, list[tuple[str, str]]]:
    """Everything that a reader needs to repeat or distrust the result, in three groups of (term, text)."""
    return {
        "Protocol": protocol_facts(record.protocol),
        "Run": run_facts(record.run),
        "Machine": [*machine_facts(record.machine), ("evaluation", duration(record.result.seconds))],
    }


def protocol_facts(p: ProtocolInfo) -> list[tuple[str, str]]:
    """The episodes asked for."""
    return [
        ("tasks", choice(p.tasks)),
        ("split", p.split),
        ("episode", episode_size(p) + f", {sizes(p.queries)} queries{' a class' if p.ways else ''}"),
        ("episodes", f"{p.episodes:,}, seed {p.seed}"),
        ("episode hash", p.digest),
        ("source", p.fingerprint),
    ]


def machine_facts(m: Machine) -> list[tuple[str, str]]:
    """Where it ran, with the versions."""
    return [
        ("processor", m.processor),
        ("cores", f"{m.cores}, {m.threads} thread{'s' * (m.threads != 1)}"),
        ("device", m.device),
        ("versions", f"quickstudy {m.quickstudy}, torch {m.torch}"),
    ]


def run_facts(run: RunInfo) -> list[tuple[str, str]]:
    """What was trained, and how."""
    policy = _NORMALISATION.get(run.normalisation, run.normalisation)
    mark = "TRANSDUCTIVE" if run.transductive else "not transductive: no query influences another"
    return [
        ("method", choice({"name": run.method, **run.method_settings})),
        ("net", choice(run.net)),
        ("meta-learned", f"{run.parameters:,} numbers"),
        ("normalisation", f"{policy}; {mark}"),
        ("training tasks", choice(run.tasks)),
        ("training", f"{run.steps:,} steps in {duration(run.seconds)}, seed {run.seed}"),
        ("training settings", choice(run.training)),
    ]


def episode_size(p: ProtocolInfo) -> str:
    """ "5-way 1-shot"; a range is written 5–20-way; what tasks do not have is left out."""
    return " ".join(f"{sizes(n)}-{word}" for n, word in ((p.ways, "way"), (p.shots, "shot")) if n is not None)


def test_episodes(p: ProtocolInfo) -> str:
    """ "5-way 1-shot, 1,000 test episodes"."""
    kind = f"{episode_size(p)}, " if episode_size(p) else ""
    return f"{kind}{p.episodes:,} {p.split} episode{'s' * (p.episodes != 1)}"


def sizes(n: Sizes) -> str:
    """A size, or the range it is drawn from."""
    return f"{n[0]}–{n[1]}" if isinstance(n, tuple) else str(n)


def choice(values: Mapping[str, Any]) -> str:
    """ "omniglot (scheme vinyals, ways 5)" of a mapping with a name, settings that are None left out."""
    rest = ", ".join(f"{k} {_plain(v)}" for k, v in values.items() if k != "name" and v is not None)
    name = str(values.get("name", ""))
    return f"{name} ({rest})" if name and rest else name or rest or "–"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return choice(value)
    if isinstance(value, (list, tuple)):
        return "–".join(map(str, value)) if len(value) == 2 else " ".join(map(_plain, value))
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def spoken(r: Result) -> str:
    """A result with its interval: "98.6 % (98.4–98.8)" or "MSE 0.382 (0.350–0.414)"."""
    return f"{'MSE ' * (r.metric == 'mse')}{score(r.mean, r.metric)} ({span(r.low, r.high, r.metric)})"


def score(value: float, metric: Metric) -> str:
    """A value of the metric with its unit."""
    return f"{number(value, metric)}{' %' * (metric == 'accuracy' and math.isfinite(value))}"


def number(value: float | None, metric: Metric) -> str:
    """A value without its unit: percent for accuracy, three digits for MSE, "not finite" for a diverged run."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not finite"
    return f"{100 * value:.1f}" if metric == "accuracy" else _three(value)


def difference(value: float, metric: Metric) -> str:
    """A signed difference, in points for accuracy; with two decimals where one would say nothing."""
    if not math.isfinite(value):
        return "–"
    if metric == "mse":
        return f"{'−' if value < 0 else '+'}{_three(abs(value))}"
    points = 100 * value
    return f"{'−' if points < 0 else '+'}{abs(points):.{1 if abs(points) >= 0.95 else 2}f}"


def span(low: float | None, high: float | None, metric: Metric, signed: bool = False) -> str:
    """The two ends of an interval."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    if signed:
        return f"{difference(low, metric)} to {difference(high, metric)}"
    return f"{number(low, metric)}–{number(high, metric)}"


def chance(p: float) -> str:
    """A p-value."""
    if not math.isfinite(p):
        return "–"
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _verdict(run: Result, floor: Result) -> Verdict:
    sign = 1 if run.metric == "accuracy" else -1
    lead = sign * (run.mean - floor.mean)
    overlap = run.low <= floor.high and floor.low <= run.high
    low = high = math.nan
    if run.digest == floor.digest and len(run.values) == len(floor.values) > 1:
        paired = t_interval([sign * (a - b) for a, b in zip(run.values, floor.values, strict=True)])
        low, high = paired.low, paired.high
    if math.isfinite(low):
        return Verdict(floor, standing(low, high), lead, low, high, overlap)
    return Verdict(floor, _apart(run, floor, lead, overlap), lead, low, high, overlap)


def _apart(run: Result, floor: Result, lead: float, overlap: bool) -> Standing:
    """The standing without pairs: by overlap; a result that diverged is behind one that did not."""
    if math.isfinite(run.mean) != math.isfinite(floor.mean):
        return "ahead" if math.isfinite(run.mean) else "behind"
    return "level" if overlap or not math.isfinite(lead) else standing(lead, lead)


def _better(r: Result) -> float:
    """Sorts results from best to worst, those that are not finite last."""
    if not math.isfinite(r.mean):
        return math.inf
    return -r.mean if r.metric == "accuracy" else r.mean


def _three(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")
