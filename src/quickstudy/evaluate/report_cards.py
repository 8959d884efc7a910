"""The drawn parts of a report: curves, calibration, and real test episodes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from quickstudy.core.predictions import Metric
from quickstudy.evaluate import findings as say
from quickstudy.evaluate import plots
from quickstudy.evaluate.markup import Cell, card, cards, details, element, listed, table, text
from quickstudy.evaluate.plots import Band, Row
from quickstudy.evaluate.record import (
    Calibration,
    Curve,
    DrawnEpisode,
    DrawnPoints,
    Interval,
    Learned,
    Record,
    Result,
    Validated,
)

__all__ = ["MEASURE", "curves", "episodes", "intervals"]

MEASURE: dict[Metric, str] = {"accuracy": "accuracy, %", "mse": "MSE"}

MOST_QUERIES = 100
"""How many queries of one episode are drawn; the page says so where there are more."""

_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")


def intervals(name: str, results: Sequence[Result], own: int | None = None) -> str:
    """The results' intervals on one axis; row `own` stands out."""
    metric = results[0].metric
    scale = _scale(metric)
    rows = [Row(r.name, scale * r.mean, scale * r.low, scale * r.high, say.score(r.mean, metric)) for r in results]
    described = f"{MEASURE[metric]} with 95 % intervals. {listed((row.label, row.value) for row in rows)}"
    return plots.intervals(name, described, rows, MEASURE[metric], own=own)


def curves(records: Sequence[Record]) -> str:
    """Learning, adaptation and shots: of one run with its floors, or of several runs together."""
    if not records:
        return ""
    measure = MEASURE[records[0].result.metric]
    steps = {r.run.name: r.curves.steps for r in records if r.curves.steps}
    shots = {r.run.name: r.curves.shots for r in records if r.curves.shots}
    made = _learning(records[0]) if len(records) == 1 else _validations(records)
    if steps:
        note = "By number of inner steps; 0 is before adaptation."
        made.append(_curve("Adaptation", note, steps, ("inner steps", measure)))
    if shots:
        note = f"By number of support examples{' of each class' * (measure == MEASURE['accuracy'])}."
        made.append(_curve("Shots", note, shots, ("shots", measure)))
    if len(records) == 1:
        made += [
            *_calibration(records[0]),
            *_foreign(records[0]),
            *_examined(records[0]),
        ]
    return cards(made)


def _calibration(record: Record) -> list[str]:
    """What probabilities and intervals are worth, as said and at the fitted temperature."""
    again = record.recalibrated
    made = []
    if c := record.calibration:
        made += _reliability("Calibration", say.calibrated(c), "calibration", c)
    if record.intervals:
        made.append(_intervals("Intervals", say.coverage(record.intervals), record.intervals))
    if again is not None and again.calibration:
        made += _reliability(say.RECALIBRATED, say.recalibrated(record), "recalibrated", again.calibration)
    if again is not None and again.intervals:
        made.append(_intervals(say.RECALIBRATED, say.recalibrated(record), again.intervals))
    return made


def _reliability(title: str, note: str, name: str, c: Calibration) -> list[str]:
    """The reliability diagram; nothing where no query was asked."""
    bins = [(b.low, b.high, b.count, b.confidence, b.accuracy) for b in c.bins]
    pairs = [(f"confidence {b.confidence:.2f}", f"{b.accuracy:.2f} right") for b in c.bins if b.count]
    return [card(title, note, plots.reliability(name, f"Reliability. {listed(pairs)}", bins))] if pairs else []


def _intervals(title: str, note: str, found: Sequence[Interval]) -> str:
    return card(title, note, table("By level.", say.INTERVALS, say.interval_rows(found)))


def _foreign(record: Record) -> list[str]:
    """How well queries of no class of the support are told; nothing where that was not measured."""
    n = record.novelty
    if n is None:
        return []
    head = ("familiarity", "AUROC", "kept", "flagged")
    row = [n.score, f"{n.auroc:.3f}", say.score(n.kept, "accuracy"), say.score(n.flagged, "accuracy")]
    return [card("Foreign queries", say.novelty(record), table("On these tasks.", head, [row]))]


def _examined(record: Record) -> list[str]:
    """What the method measured of itself; nothing where it measured nothing."""
    if not record.examined:
        return []
    rows = [[each.name, say.number(each.mean, "mse"), say.span(each.low, each.high, "mse")] for each in record.examined]
    head = ("figure", "mean", "95 % interval")
    return [card("Measured by the method itself", say.examined(record), table("Over episodes.", head, rows))]


def episodes(drawn: Sequence[DrawnEpisode | DrawnPoints]) -> str:
    """Episodes of images as support and queries, of numbers as fitted functions."""
    images = [e for e in drawn if isinstance(e, DrawnEpisode)]
    points = [e for e in drawn if isinstance(e, DrawnPoints)]
    parts = [_episode(n, e) for n, e in enumerate(images, 1)]
    first = element("p", "The protocol's first episodes, not chosen for how they came out.", "soft small lead-in")
    return (first if drawn else "") + "".join(parts) + cards([_fit(n, e) for n, e in enumerate(points, 1)])


def _learning(record: Record) -> list[str]:
    losses = [(point.step, point.loss) for point in record.learning if isinstance(point, Learned)]
    if not losses:
        return []
    measure, band = f"validation {MEASURE[record.result.metric]}", _validation(record)
    described = f"Training loss from {losses[0][1]:.3g} to {losses[-1][1]:.3g} in {losses[-1][0]} steps."
    note = f"{losses[-1][0]:,} steps. The band holds four in five of the losses of neighbouring steps."
    if band:
        described += f" {measure} from {band.mean[0]:.3g} to {band.mean[-1]:.3g}."
        note += " Validation with 95 % intervals."
    return [card("Learning", note, plots.learning("learning", described, losses, band, measure))]


def _validations(records: Sequence[Record]) -> list[str]:
    found = {record.run.name: _validation(record) for record in records}
    bands = {name: band for name, band in found.items() if band}
    if not bands:
        return []
    measure = f"validation {MEASURE[records[0].result.metric]}"
    described = f"{measure} by training step. {listed((n, f'{b.mean[-1]:.3g} at the end') for n, b in bands.items())}"
    drawing = plots.curve("learning", described, bands, ("training step", measure))
    return [card("Learning", "Validation by training step, with 95 % intervals.", drawing)]


def _validation(record: Record) -> Band | None:
    scale = _scale(record.result.metric)
    points = [point for point in record.learning if isinstance(point, Validated)]
    if not points:
        return None
    mean, low, high = zip(*((scale * v.validation, scale * v.low, scale * v.high) for v in points), strict=True)
    return Band([v.step for v in points], mean, low, high)


def _curve(title: str, note: str, found: Mapping[str, Curve], axes: tuple[str, str]) -> str:
    scale = 100 if axes[1].startswith("accuracy") else 1
    bands = {run: _band(c, scale) for run, c in found.items()}
    first = next(iter(found.values()))
    one = first.floors if len(found) == 1 else {}  # several runs have floors of their own, too many for one plot
    floors = {floor: (first.x, [scale * v for v in means]) for floor, means in one.items()}
    described = f"{title}: {axes[1]} by {axes[0]}. " + " ".join(
        f"{run}. {listed((str(x), f'{value:.3g}') for x, value in zip(band.x, band.mean, strict=True))}"
        for run, band in bands.items()
    )
    rows: list[list[Cell | str]] = [
        [str(x), *(_at(band, x) for band in bands.values()), *(f"{means[n]:.3g}" for _, means in floors.values())]
        for n, x in enumerate(first.x)
    ]
    numbers = table(f"{axes[1]}, 95 % intervals below", [axes[0], *bands, *floors], rows)
    drawing = plots.curve(title.lower(), described, bands, axes, floors=floors)
    return card(title, note, drawing + details("The numbers", numbers))


def _band(c: Curve, scale: float) -> Band:
    return Band(c.x, *([scale * v for v in values] for values in (c.mean, c.low, c.high)))


def _at(band: Band, x: float) -> Cell:
    if x not in band.x:
        return Cell("–")
    n = list(band.x).index(x)
    return Cell(f"{band.mean[n]:.3g}", f"{band.low[n]:.3g}–{band.high[n]:.3g}")


def _fit(n: int, e: DrawnPoints) -> str:
    described = f"Episode {n}: the fitted function, {len(e.support)} support points and {len(e.queries)} queries."
    note = f"Learned from {len(e.support)} support points; the queries were held back."
    return card(f"Episode {n}", note, plots.fit(f"fit-{n}", described, e.support, e.queries, e.curve))


def _episode(n: int, e: DrawnEpisode) -> str:
    """One class a block: its support, then its queries, each with what was predicted."""
    right = sum(q.label == q.predicted for q in e.queries)
    most = max(2, MOST_QUERIES // max(1, len(e.classes)))
    blocks = f'<div class="classes">{"".join(_class(e, label, most) for label in range(len(e.classes)))}</div>'
    how = "✓ in a solid frame: right. ✗ in a dashed frame: wrong, with the letter predicted. Percent: how sure."
    inside = details("Support, queries and predictions", element("p", how, "soft small") + blocks, opened=n == 1)
    title = f"Episode {n}: {right} of the {len(e.queries)} queries drawn are right"
    return f'<div class="card episode">{element("h3", title)}{inside}</div>'


def _class(e: DrawnEpisode, label: int, most: int) -> str:
    support = "".join(f'<li class="tile">{_image(s.image, "support")}</li>' for s in e.support if s.label == label)
    queries = [q for q in e.queries if q.label == label]
    tiles = "".join(_query(e, q.image, label, q.predicted, q.probability) for q in queries[:most])
    more = element("p", f"The first {most} of {len(queries)}.", "soft small") if len(queries) > most else ""
    return (
        f'<div class="class"><h4>{element("span", _slot(label), "slot")}{text(e.classes[label])}</h4>'
        f'<div class="halves"><div>{element("p", "support", "soft small")}<ul class="tiles">{support}</ul></div>'
        f'<div>{element("p", "queries", "soft small")}<ul class="tiles">{tiles}</ul>{more}</div></div></div>'
    )


def _query(e: DrawnEpisode, image: str, label: int, predicted: int, probability: float) -> str:
    hit = predicted == label
    described = "query, right" if hit else f"query, wrong: predicted {_slot(predicted)}, {e.classes[predicted]}"
    mark = "✓" if hit else f"✗ {_slot(predicted)}"
    sure = f"{100 * probability:.0f} %" if math.isfinite(probability) else ""
    return (
        f'<li class="tile {"hit" if hit else "miss"}">{_image(image, described)}{element("span", mark, "mark")}'
        f"{element('span', sure, 'soft')}</li>"
    )


def _slot(label: int) -> str:
    """A, B, ... Z, then AA, AB, ...: a short name of a class within its episode."""
    return (_slot(label // 26 - 1) if label >= 26 else "") + chr(ord("A") + label % 26)


def _image(source: str, described: str) -> str:
    """An image inside the page; anything else a record might name is not loaded."""
    if not _IMAGE.fullmatch(source):
        return element("span", f"no image ({described})", "soft")
    return f'<img src="{source}" alt="{text(described)}" width="50" height="50">'


def _scale(metric: Metric) -> float:
    return 100 if metric == "accuracy" else 1
