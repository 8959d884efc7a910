"""The report's plots: inline SVG that takes its colours and its type from the page around it.

Each function returns one `<svg>` element to be set into HTML. Text stays text; every colour is a CSS variable
(`var(--ink)`, `var(--series-1)`, ...), so that one drawing serves a light and a dark page; every id carries the plot's
own name, so that many plots share a page. The same data give the same bytes.

Values are drawn as given: a caller that wants percent multiplies by 100.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from numpy.typing import NDArray

__all__ = ["SERIES", "Band", "Row", "curve", "fit", "intervals", "learning", "reliability"]

SERIES = 6
"""How many series colours a page defines: `--series-1` (the run) to `--series-6`."""

WIDTH = 5.0  # inches; a unit of the drawing is 1/72 inch, so 360 units: about a phone's width and a third of a screen

# Drawn in colours that nothing else uses, which become variables afterwards.
_COLOURS = {name: f"#0{n:x}0203" for n, name in enumerate(("ink", "soft", "line", "card"), 1)} | {
    f"series-{n}": f"#0{n:x}0405" for n in range(1, SERIES + 1)
}
_MARKERS = "osD^vP"
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "quickstudy",
    "font.size": 11,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": _COLOURS["ink"],
    "axes.labelcolor": _COLOURS["soft"],
    "axes.edgecolor": _COLOURS["line"],
    "xtick.color": _COLOURS["line"],
    "ytick.color": _COLOURS["line"],
    "xtick.labelcolor": _COLOURS["soft"],
    "ytick.labelcolor": _COLOURS["soft"],
    "grid.color": _COLOURS["line"],
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 2,
}


class Band(NamedTuple):
    """A line of means with the ends of their intervals."""

    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


class Row(NamedTuple):
    """One line of an interval plot."""

    label: str
    mean: float
    low: float
    high: float
    value: str
    """The mean as it is written at the row's end."""


def learning(
    name: str, label: str, losses: Sequence[tuple[float, float]], validation: Band | None, measure: str
) -> str:
    """Training loss by step (mean and spread of neighbouring steps) and, below it, validation.

    Args:
        name: Starts every id of the drawing; unique on its page.
        label: Says in words what the plot shows, for those who do not see it.
        losses: (step, loss) pairs; those that are not finite are left out.
        validation: Validation means by step, if there was any.
        measure: The label of the validation axis.
    """
    points = np.array([p for p in losses if np.isfinite(p[1])], dtype=float).reshape(-1, 2)

    def paint(figure: Figure) -> None:
        axes = figure.subplots(2 if validation else 1, 1, sharex=True, squeeze=False)[:, 0]
        if len(points):
            _smoothed(axes[0], points)
        axes[0].set_ylabel("training loss")
        if validation:
            _band(axes[1], validation, 0)
            axes[1].set_ylabel(measure)
        axes[-1].set_xlabel("training step")
        axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))

    return _draw(name, label, 4.6 if validation else 3.2, paint)


def curve(
    name: str,
    label: str,
    bands: Mapping[str, Band],
    axes_labels: tuple[str, str],
    floors: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> str:
    """A measure by number of inner steps, of shots or of training steps: runs with their intervals, floors' means.

    Args:
        name: Starts every id of the drawing; unique on its page.
        label: Says in words what the plot shows.
        bands: Lines with intervals, by name of run.
        axes_labels: What x and y are.
        floors: (x, means), by name of floor.
    """
    floors = floors or {}
    names = [*bands, *floors]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        handles = [_band(axes, band, n) for n, band in enumerate(bands.values())]
        for n, (at, means) in enumerate(floors.values(), len(bands)):
            handles += axes.plot(at, means, **_series(n), linewidth=1.4, markersize=4.5)
        x = sorted({at for band in bands.values() for at in band.x})
        log = bool(x) and x[0] > 0 and x[-1] > 12 * x[0]
        if log:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel(axes_labels[0])
        axes.set_ylabel(axes_labels[1])
        axes.set_xticks(_ticks(x, log))
        axes.minorticks_off()
        if len(names) > 1:
            _legend(figure, handles, names)

    return _draw(name, label, 3.2 + 0.11 * (len(names) + 1 if len(names) > 1 else 0), paint)


def intervals(
    name: str, label: str, rows: Sequence[Row], axis: str, *, own: int | None = None, zero: bool = False
) -> str:
    """One interval a row, each under its own label, on a shared axis; what is not finite has a label only.

    Args:
        name: Starts every id of the drawing; unique on its page.
        label: Says in words what the plot shows.
        rows: From top to bottom.
        axis: What the shared axis measures.
        own: The row that stands out, if one does.
        zero: Whether to mark zero: the rows are differences.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        across = axes.get_yaxis_transform()
        for n, row in enumerate(rows):
            loud = own in {None, n}
            look: dict[str, Any] = {"color": _COLOURS["series-1" if loud else "soft"]}
            axes.plot([row.low, row.high], [-n, -n], **look, linewidth=3, solid_capstyle="butt")
            axes.plot([row.mean], [-n], **look, marker="o" if loud else "D", markersize=7 if loud else 5.5)
            weight = "bold" if own == n else "normal"
            text: dict[str, Any] = {"transform": across, "va": "bottom", "weight": weight, "parse_math": False}
            axes.text(0, -n + 0.22, _short(row.label, 36), **text)
            axes.text(1, -n + 0.22, row.value, **text, ha="right")
        if zero:
            axes.axvline(0, color=_COLOURS["ink"], linewidth=1)
        axes.set_ylim(-len(rows) + 0.6, 0.75)
        axes.set_yticks([])
        axes.grid(True, axis="x")
        axes.margins(x=0.04)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.set_xlabel(axis)

    return _draw(name, label, 0.7 + 0.52 * len(rows), paint)


def reliability(name: str, label: str, bins: Sequence[tuple[float, float, int, float, float]]) -> str:
    """Accuracy by confidence against the diagonal of perfect calibration, and below it the queries of each bin.

    Args:
        name: Starts every id of the drawing; unique on its page.
        label: Says in words what the plot shows.
        bins: (low, high, count, mean confidence, accuracy), fractions of one; empty bins are left out.
    """
    filled = np.array([b for b in bins if b[2]], dtype=float).reshape(-1, 5)

    def paint(figure: Figure) -> None:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        low, high, count, confidence, accuracy = filled.T
        top.plot([0, 1], [0, 1], color=_COLOURS["soft"], linewidth=1, linestyle=(0, (4, 3)))
        top.text(0.03, 0.93, "less sure than right", color=_COLOURS["soft"])
        top.text(0.97, 0.03, "surer than right", color=_COLOURS["soft"], ha="right")
        top.vlines(confidence, confidence, accuracy, color=_COLOURS["series-1"], alpha=0.4)
        top.plot(confidence, accuracy, **_series(0), markersize=6)
        top.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.05), ylabel="share right")
        share = count / max(count.sum(), 1)
        below.bar((low + high) / 2, share, 0.86 * (high - low), color=_COLOURS["series-1"], alpha=0.75)
        below.set(xlabel="confidence of the prediction", ylabel="queries")
        below.yaxis.set_major_locator(MaxNLocator(2))

    return _draw(name, label, 4.6, paint)


def fit(
    name: str,
    label: str,
    support: Sequence[tuple[float, float]],
    queries: Sequence[tuple[float, float]],
    line: Sequence[tuple[float, float]],
) -> str:
    """A regression task: the function fitted, through its support points (filled) and queries (rings).

    Args:
        name: Starts every id of the drawing; unique on its page.
        label: Says in words what the plot shows.
        support: (x, y) points that were learned from.
        queries: (x, y) points held back.
        line: (x, predicted mean) points.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        rings: dict[str, Any] = {"color": _COLOURS["soft"], "markerfacecolor": _COLOURS["card"], "linestyle": "none"}
        handles = axes.plot(*_columns(sorted(line)), color=_COLOURS["series-1"])
        handles += axes.plot(*_columns(support), color=_COLOURS["ink"], linestyle="none", marker="s", markersize=6)
        handles += axes.plot(*_columns(queries), **rings, marker="o", markersize=5.5)
        axes.set_xlabel("x")
        axes.set_ylabel("y")
        _legend(figure, handles, ["fitted", "support", "query"])

    return _draw(name, label, 3.2, paint)


def _draw(name: str, label: str, height: float, paint: Callable[[Figure], None]) -> str:
    buffer = io.StringIO()
    # the default style first: whatever the user set for their own plots stays out of the report, and the other way
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # only measured here; the browser has the letters
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return _inline(buffer.getvalue(), name, label)


def _inline(svg: str, name: str, label: str) -> str:
    """One `<svg>` element without prologue, page-wide style, fixed size, or ids and colours of its own."""
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style\b.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family:[^;\"]*;? ?|font: [^;\"]*?([\d.]+px)[^;\"]*", _font, body)
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r"(?:xlink:)?href=\"#", f'href="#{name}-', body).replace("url(#", f"url(#{name}-")
    for variable, colour in _COLOURS.items():
        body = body.replace(colour, f"var(--{variable})")
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None  # every SVG that matplotlib writes has one
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg viewBox="{box[1]}" role="img" aria-label="{html.escape(label)}">{body.strip()}\n'


def _font(match: re.Match[str]) -> str:
    """The size and weight of a font without its family, which is the page's."""
    if not match[1]:
        return ""
    bold = "font-weight: 700; " if re.search(r"\b(700|bold)\b", match[0]) else ""
    return f"{bold}font-size: {match[1]}"


def _series(n: int) -> dict[str, Any]:
    """Colour, marker and dash of series `n`: no two differ by colour alone."""
    n %= SERIES
    return {"color": _COLOURS[f"series-{n + 1}"], "marker": _MARKERS[n], "linestyle": _DASHES[n]}


def _band(axes: Axes, band: Band, n: int) -> Artist:
    look = _series(n)
    axes.fill_between(band.x, band.low, band.high, color=look["color"], alpha=0.18, linewidth=0)
    return axes.plot(band.x, band.mean, **look, markersize=5 if len(band.x) < 30 else 0)[0]


def _smoothed(axes: Axes, points: NDArray[np.float64], most: int = 120) -> None:
    """At most `most` means of neighbouring points, over the span of most of their values."""
    points = points[np.argsort(points[:, 0], kind="stable")]
    groups = np.array_split(points, min(most, len(points)))
    x, mean = np.array([g.mean(0) for g in groups]).T
    low, high = np.array([np.quantile(g[:, 1], (0.1, 0.9)) for g in groups]).T
    axes.fill_between(x, low, high, color=_COLOURS["series-1"], alpha=0.22, linewidth=0)
    axes.plot(x, mean, color=_COLOURS["series-1"], linewidth=1.6)
    if mean.min() > 0 and mean.max() > 30 * mean.min():
        axes.set_yscale("log")


def _legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    words = [_short(label, 26).lstrip("_") for label in labels]  # matplotlib drops what starts with one
    legend = figure.legend(handles, words, loc="outside lower center", ncols=3 if len(words) == 3 else 2)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _ticks(values: Sequence[float], log: bool) -> list[float]:
    """Those of the sorted x values that leave room for their labels, the last one always."""
    at = np.log(values) if log else np.asarray(values, dtype=float)
    kept: list[int] = []
    for n in reversed(range(len(values))):
        if not kept or at[kept[-1]] - at[n] >= (0.03 + 0.02 * len(f"{values[n]:g}")) * (at[-1] - at[0]):
            kept.append(n)
    return [values[n] for n in reversed(kept)]


def _columns(points: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    return np.array(points, dtype=float).reshape(-1, 2).T


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
