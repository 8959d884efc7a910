"""What the leaderboards' records say of the targets that were set for them, as rows of docs/claims.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import leaderboards
from leaderboards import read_board, shown
from of_claims import Row

from quickstudy.evaluate.record import Record, Result
from quickstudy.evaluate.statistics import paired
from quickstudy.registry import family

__all__ = ["Board", "board", "cifar_fs", "omniglot", "sines"]

UNKNOWN = "not measured yet"


@dataclass(frozen=True)
class Board:
    """A leaderboard's file, its rows that were measured, and the results of longer runs by the names of their files."""

    asked: dict[str, Any]
    rows: dict[str, leaderboards.Row]
    longer: dict[str, Result]

    def result(self, row: str, title: str) -> Result | None:
        """Of a row under a protocol, the mean over its seeds; None where it has not been measured."""
        return self.rows[row].result(title) if row in self.rows else None

    def floor(self, name: str, title: str) -> Result | None:
        """A floor under a protocol, likewise."""
        found = leaderboards.floors(self.asked, list(self.rows.values()), title)
        return next((floor for floor in found if floor.name == name), None)

    def stepping(self) -> list[str]:
        """The rows that were measured of methods that adapt by gradient steps, and see each query alone."""
        return [name for name, row in self.rows.items() if not row.transductive and self._steps(name)]

    def _steps(self, name: str) -> bool:
        return family(self.asked["rows"][name]["method"]["name"]) == "gradient"


def board(name: str, records: Path) -> Board:
    """The leaderboard of this name, with the runs of its tasks that took longer than it gives."""
    asked = read_board(name)
    longer = {path.stem: Record.read(path).result for path in sorted(records.glob(f"{name}-*.json"))}
    return Board(asked, {row.name: row for row in leaderboards.read(name, asked)}, longer)


def sines(found: Board) -> list[Row]:
    def figure(result: Result) -> str:
        return shown("mse", result)

    rows, pair = [], ("meta-sgd", "maml")
    for title, most in (("5 points, 1 step", 0.67), ("5 points, 5 steps", 0.38), ("5 points, 10 steps", 0.35)):
        result = found.result("maml", title)
        rows.append(_row(f"MAML, {title}", f"{most:.2f} or less", figure, _at_most(most), result, paper=f"{most:.2f}"))
    for points in (5, 10, 20):
        title = f"{points} points, 1 step"
        both = [found.result(f"{name}, {points} points", title) for name in pair]
        papers = " and ".join(f"{_published(found, f'{name}, {points} points', title):.2f}" for name in pair)
        rows.append(_row(f"Meta-SGD minus MAML, {title}", BELOW, _apart(3), _lower, *both, paper=papers))
    result = found.result("cavia, 10 points", "10 points, 1 step")
    rows.append(_row("CAVIA, 10 points, 1 step", "0.22 or less", figure, _at_most(0.22), result, paper="0.19"))
    for points in (5, 10, 20):
        title = f"{points} points, 1 step"
        names = {"MT-net": f"mtnet, {points} points", "Meta-SGD": f"meta-sgd, {points} points"}
        first, second = sorted(names, key=lambda name: _published(found, names[name], title))
        both = [found.result(names[name], title) for name in (first, second)]
        papers = " and ".join(f"{_published(found, names[name], title):.2f}" for name in (first, second))
        target = "below 0: the papers' order"
        rows.append(_row(f"{first} minus {second}, {title}", target, _apart(3), _ordered, *both, paper=papers))
    for title in found.asked["usual"]:
        both = [found.result(name, title) for name in ("imaml-hf", "maml")]
        rows.append(_row(f"error of Hessian-free iMAML over MAML's, {title}", "1.10 or less", _ratio, _within, *both))
    return rows


def omniglot(found: Board) -> list[Row]:
    rows = []
    for title, paper in (("5-way 1-shot", 98.8), ("5-way 5-shot", 99.7), ("20-way 1-shot", 96.0)):
        rows.append(_at_least(f"prototypical networks, {title}", paper, found.result("protonet", title), f"{paper} %"))
    one = "5-way 1-shot"
    for name, said in (("r2d2", "R2-D2"), ("relation", "relation networks"), ("matching", "matching networks")):
        rows.append(_at_least(f"{said}, {one}", 97.5, found.result(name, one), f"{_published(found, name, one):g} %"))
    known = {name: result for name in found.stepping() if (result := found.result(name, one))}
    best = max(known, key=lambda name: known[name].mean, default="")
    title = f"the best method that steps ({best}), {one}" if best else f"the best method that steps, {one}"
    rows.append(_at_least(title, 97.0, known.get(best)))
    rows.append(_at_least(f"ANIL with a tied head, {one}", 97.0, found.result("anil-tied", one)))
    long = found.longer.get("omniglot-protomaml-long-5-way")
    recipe = "`recipes/omniglot-protomaml-long.yaml`"
    rows.append(_at_least(f"the same in a longer run, of Proto-MAML ({recipe}), {one}", 98.5, long))
    paper = f"{_published(found, 'maml', one):g} %, transductive"
    rows.append(_at_least(f"MAML, {one}, within 20 minutes", 93.0, found.result("maml", one), paper))
    for title in ("5-way 1-shot", "5-way 5-shot"):
        both = [found.result(name, title) for name in ("reptile", "maml")]
        papers = " and ".join(f"{_published(found, name, title):g} %" for name in ("reptile", "maml"))
        rows.append(_row(f"Reptile minus MAML, {title}", BELOW, _apart(2, 100), _lower, *both, paper=papers))
    return rows


def cifar_fs(found: Board) -> list[Row]:
    rows = []
    for title in found.asked["usual"]:
        paper = _published(found, "protonet", title)
        rows.append(_near(f"prototypical networks, {title}", paper, found.result("protonet", title)))
    for title in found.asked["usual"]:
        long = found.longer.get(f"cifar_fs-r2d2-long-{title.replace(' ', '-')}")
        paper = _published(found, "r2d2", title)
        rows.append(_near(f"R2-D2 in a longer run (`recipes/cifar_fs-r2d2-long.yaml`), {title}", paper, long))
    title = found.asked["usual"][0]
    floor = found.floor("no adaptation", title)
    for name in found.rows:
        both = [found.result(name, title), floor]
        rows.append(_row(f"{name} and no adaptation, {title}", "ahead, intervals apart", _beside, _ahead, *both))
    return rows


# --- rows of one result or two, which may be missing ------------------------------------------------------------------

BELOW = "below 0, with its interval"


def _row(
    what: str,
    target: str,
    figure: Callable[..., str],
    reached: Callable[..., bool],
    *results: Result | None,
    paper: str = "",
) -> Row:
    if any(result is None for result in results):
        return Row(what, UNKNOWN, target, paper=paper)
    return Row(what, figure(*results), target, reached(*results), paper)


def _at_most(most: float) -> Callable[[Result], bool]:
    def reached(result: Result) -> bool:
        return result.mean <= most

    return reached


def _at_least(what: str, least: float, result: Result | None, paper: str = "") -> Row:
    def reached(result: Result) -> bool:
        return 100 * result.mean >= least

    return _row(what, f"{least} % or more", _per_cent, reached, result, paper=paper)


def _near(what: str, paper: float, result: Result | None) -> Row:
    def reached(result: Result) -> bool:
        return 100 * result.mean >= paper - 3

    return _row(what, f"{paper - 3:.1f} % or more", _per_cent, reached, result, paper=f"{paper} %")


def _published(found: Board, row: str, title: str) -> float:
    figure: float = found.asked["published"][row][title]
    return figure


def _per_cent(result: Result) -> str:
    return shown("accuracy", result) + " %"


def _apart(digits: int, scale: float = 1.0) -> Callable[[Result, Result], str]:
    def figure(a: Result, b: Result) -> str:
        mean, low, high = (f"{scale * value:.{digits}f}" for value in paired(a, b)[0])
        return f"{mean} ({low} to {high})"

    return figure


def _lower(a: Result, b: Result) -> bool:
    return paired(a, b)[0].high < 0


def _beside(result: Result, floor: Result) -> str:
    return f"{_per_cent(result)}, {100 * floor.mean:.2f} %"


def _ahead(result: Result, floor: Result) -> bool:
    return result.low > floor.high


def _ordered(a: Result, b: Result) -> bool:
    return a.mean < b.mean


def _ratio(a: Result, b: Result) -> str:
    return f"{a.mean / b.mean:.2f}" if math.isfinite(a.mean / b.mean) else "diverged"


def _within(a: Result, b: Result) -> bool:
    return a.mean <= 1.1 * b.mean
