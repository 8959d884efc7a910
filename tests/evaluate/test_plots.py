"""Plots show the numbers they were given, take their colours from the page, and leave nothing behind."""

from __future__ import annotations

import functools
import itertools
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from quickstudy.evaluate import plots
from quickstudy.evaluate.plots import Band, Row

BAND = Band([0, 1, 2, 5, 10], [20, 60, 80, 90, 95], [19, 58, 79, 89, 94], [21, 62, 81, 91, 96])
FLOORS = {"linear probe": ([0, 1, 2, 5, 10], [20, 30, 40, 50, 60]), "cost $5$, _x_": ([0, 10], [20, 65])}
BINS = [(0.0, 0.5, 0, float("nan"), float("nan")), (0.5, 0.75, 30, 0.6, 0.5), (0.75, 1.0, 70, 0.9, 0.95)]


@functools.cache
def every() -> dict[str, str]:
    steps = [(s, 2.0 / s) for s in range(1, 500)]
    return {
        "learning": plots.learning("learning", "Loss & <more>", steps, BAND, "accuracy, %"),
        "curve": plots.curve("curve", "Rises.", {"run": BAND}, ("inner steps", "accuracy, %"), floors=FLOORS),
        "intervals": plots.intervals("intervals", "Rows.", [Row("a", 1, 0.5, 2, "1"), Row("b", 3, 2, 4, "3")], "x"),
        "reliability": plots.reliability("reliability", "Diagonal.", BINS),
        "fit": plots.fit("fit", "A fit.", [(0, 0), (1, 1)], [(2, 2)], [(0, 0), (2, 2)]),
    }


def lines(svg: str, variable: str, clipped: bool = True) -> list[np.ndarray]:
    """The points of every line drawn in a colour, with y upwards."""
    clip = r' clip-path="[^"]*"' if clipped else ""
    paths = re.findall(rf'<path d="([^"]*)"{clip} style="fill: none; stroke[^"]*var\(--{variable}\)', svg)
    return [np.array(re.findall(r"[-\d.]+", path), float).reshape(-1, 2) * (1, -1) for path in paths]


def off_line(drawn: np.ndarray, given: np.ndarray) -> float:
    """How far `drawn` is from a linear function of `given`, in units of the drawing."""
    slope, offset = np.polyfit(given, drawn, 1)
    assert slope > 0
    return float(np.abs(slope * np.asarray(given) + offset - drawn).max())


@pytest.mark.parametrize("name", ["learning", "curve", "intervals", "reliability", "fit"])
def test_a_plot_is_one_element_coloured_by_the_page(name: str) -> None:
    svg = every()[name]
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("width") is None
    assert not re.search(r"#[0-9a-f]{6}|<style|http|font-family|DejaVu", svg)
    assert "var(--soft)" in svg
    assert len(root.findall(".//text")) > 3


@pytest.mark.parametrize("name", ["learning", "curve", "intervals", "reliability", "fit"])
def test_ids_are_the_plots_own_and_all_used(name: str) -> None:
    svg = every()[name]
    ids = re.findall(r' id="([^"]+)"', svg)
    assert all(one.startswith(f"{name}-") for one in ids)
    assert len(ids) == len(set(ids))
    assert set(ids) == set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", svg))


def test_the_same_data_give_the_same_bytes() -> None:
    assert every.__wrapped__() == every()


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = every()["curve"]
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    settings = dict(matplotlib.rcParams)
    assert every.__wrapped__()["curve"] == before  # the user's own style does not reach the report
    assert dict(matplotlib.rcParams) == settings  # nor the report's the user


def test_a_curve_is_where_its_numbers_are() -> None:
    drawn = lines(every()["curve"], "series-1")[0]
    assert off_line(drawn[:, 0], np.array(BAND.x)) < 1e-3
    assert off_line(drawn[:, 1], np.array(BAND.mean)) < 1e-3


def test_series_differ_by_more_than_colour() -> None:
    runs = {str(n): Band([0, 1], [n, n], [n, n], [n, n]) for n in range(plots.SERIES)}
    svg = plots.curve("c", "Six.", runs, ("x", "y"))
    dashes = re.findall(r'clip-path="[^"]*" style="fill: none; stroke(?:-dasharray)?: ([^"]*)var\(--series', svg)
    assert len(set(dashes)) == plots.SERIES


def test_a_wide_range_of_shots_is_logarithmic() -> None:
    x = [1, 2, 4, 8, 16, 32]
    drawn = lines(plots.curve("c", "Log.", {"a": Band(x, x, x, x)}, ("shots", "y")), "series-1")[0]
    assert off_line(drawn[:, 0], np.log(x)) < 1e-3


def test_intervals_span_their_ends() -> None:
    rows = [Row("a", 1, 0.5, 2, "1"), Row("b", 3, 2.5, 4, "3")]
    drawn = lines(plots.intervals("i", "Rows.", rows, "x", own=0), "series-1")
    other = lines(plots.intervals("i", "Rows.", rows, "x", own=0), "soft")
    ends = np.concatenate([drawn[0][:, 0], other[0][:, 0]])
    assert off_line(ends, np.array([0.5, 2, 2.5, 4])) < 1e-3
    assert drawn[0][0, 1] > other[0][0, 1]  # from top to bottom


def test_calibration_is_where_its_bins_are() -> None:
    drawn = lines(every()["reliability"], "series-1")[-1]
    diagonal = lines(every()["reliability"], "soft")[0]
    given = np.array([(0.6, 0.5), (0.9, 0.95)])
    at = (drawn - diagonal[0]) / (diagonal[1] - diagonal[0])
    assert np.abs(at - given).max() < 1e-4


def test_losses_are_averaged_with_their_neighbours() -> None:
    few = [(1.0, 4.0), (2.0, 2.0), (3.0, 3.0)]
    drawn = lines(plots.learning("l", "Few.", few, None, "y"), "series-1")[0]
    assert off_line(drawn[:, 1], np.array([4.0, 2.0, 3.0])) < 1e-3
    many = [(float(s), float(s % 2)) for s in range(1200)]
    drawn = lines(plots.learning("l", "Many.", many, None, "y"), "series-1")[0]
    assert len(drawn) <= 120
    assert np.ptp(drawn[:, 1]) < 1e-3  # zeros and ones average to a flat line


def test_losses_that_are_not_finite_are_left_out() -> None:
    points = [(1.0, 4.0), (2.0, float("nan")), (3.0, float("inf")), (4.0, 3.0)]
    drawn = lines(plots.learning("l", "Diverged.", points, None, "y"), "series-1")[0]
    assert len(drawn) == 2
    assert "<svg" in plots.learning("l", "Nothing.", [(1.0, float("nan"))], None, "y")


def test_names_are_drawn_as_they_are() -> None:
    root = ElementTree.fromstring(every()["curve"])
    assert "cost $5$, _x_" in [text.text for text in root.findall(".//text")]
    rows = [Row('<b> & "q" $x$ 漢字 ' + "long " * 20, 1, 0, 2, "1 %")]
    root = ElementTree.fromstring(plots.intervals("i", '"quoted" <b>', rows, "x"))
    assert root.get("aria-label") == '"quoted" <b>'
    first = next(t.text or "" for t in root.findall(".//text") if (t.text or "").startswith("<b>"))
    assert first.startswith('<b> & "q" $x$ 漢字 long')
    assert first.endswith("…")
    assert len(first) == 36


def test_labels_of_ticks_do_not_collide() -> None:
    x = list(range(0, 60_001, 1000))
    svg = plots.curve("c", "Many.", {"a": Band(x, x, x, x)}, ("x", "y"))
    found = re.findall(r'text-anchor: middle[^"]*" x="([\d.]+)"[^>]*>(\d+)<', svg)
    labels = sorted((float(at), 6.5 * len(words)) for at, words in found)
    assert len(labels) >= 4
    for (left, width), (right, next_width) in itertools.pairwise(labels):
        assert right - left > (width + next_width) / 2
