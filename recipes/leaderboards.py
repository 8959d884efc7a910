"""Write docs/leaderboards.md with its pictures: `python recipes/leaderboards.py`.

They are made from the records in docs/records/leaderboards, which `benchmarks/leaderboard.py` keeps, and from the
published figures in recipes/leaderboards; no figure is typed.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib import rc_context
from matplotlib.figure import Figure

from quickstudy.evaluate.record import Record, Result, RunInfo
from quickstudy.evaluate.statistics import holm, paired, t_interval

ROOT = Path(__file__).parent.parent
BOARDS = ROOT / "recipes" / "leaderboards"
RECORDS = ROOT / "docs" / "records" / "leaderboards"
PAGE = ROOT / "docs" / "leaderboards.md"
NAMES = ("omniglot", "cifar_fs", "sines")

HEAD = """# Leaderboards

Made by `python recipes/leaderboards.py` from the records in `docs/records/leaderboards`; no figure is typed but the
papers' and what remarks tell of earlier tries. Every method of a board has the same budget and is asked the same
hashed test episodes. Intervals are 95 % over episodes (Student's t); where a row was trained from several seeds, its
figure is their mean, and the figure of each stands beside it. *p* is that of a sign-flip test, episode by episode,
that the row is as good as the first one, adjusted for all rows (Holm). Papers' figures stand in brackets, each under
its own protocol, with far longer training. A figure that does not clear the best floor says so, where floors were
measured. Minutes are those on the clock until the weights that were kept, of the quickest seed with one thread, most
beside another row on the same processor: what fits in a budget is counted in steps, measured on an idle machine. The
settings behind each row are in `recipes/leaderboards`.
"""


@dataclass(frozen=True)
class Row:
    """A method on a board: its results by protocol, over all its seeds."""

    name: str
    records: dict[str, list[Record]]

    def result(self, title: str) -> Result | None:
        """The mean over seeds, episode by episode."""
        records = self.records.get(title, [])
        if not records:
            return None
        found = [record.result for record in records]
        values = np.mean([result.values for result in found], axis=0)
        mean, low, high = t_interval(values)
        return dataclasses.replace(
            found[0], name=self.name, mean=mean, low=low, high=high, values=tuple(float(value) for value in values)
        )

    @property
    def one(self) -> Record:
        """Any of its records."""
        return next(iter(self.records.values()))[0]

    @property
    def transductive(self) -> bool:
        """Whether its queries see each other."""
        return self.one.run.transductive


def plain(text: str) -> str:
    """A title as file names have it."""
    return text.replace(", ", "-").replace(" ", "-")


def read_board(name: str) -> dict[str, Any]:
    """What a file of `recipes/leaderboards` asks for."""
    found: dict[str, Any] = yaml.safe_load((BOARDS / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def read(name: str, board: dict[str, Any]) -> list[Row]:
    """The rows of a board that have records, in its own order."""
    found = []
    for row in board["rows"]:
        records: dict[str, list[Record]] = {}
        for title in board["protocols"]:
            stems = [f"{plain(row)}--{plain(title)}", f"{plain(row)}-seed-*--{plain(title)}"]
            files = [file for stem in stems for file in sorted((RECORDS / name).glob(f"{stem}.json"))]
            if files:
                records[title] = [Record.read(file) for file in files]
        if records:
            found.append(Row(row, records))
    return found


def shown(metric: str, result: Result) -> str:
    """A figure with its interval."""
    if metric == "accuracy":
        return f"{100 * result.mean:.2f} ({100 * result.low:.2f} to {100 * result.high:.2f})"
    if not math.isfinite(result.mean):
        return "diverged"
    mean, low, high = (
        f"{value:.3f}" if 0.01 <= abs(value) < 100 else f"{value:.2g}"
        for value in (result.mean, result.low, result.high)
    )
    return f"{mean} ({low} to {high})"


def spread(metric: str, records: list[Record]) -> str:
    """The figures of each seed, where there are several."""
    if len(records) == 1:
        return ""
    scale, digits = (100, 1) if metric == "accuracy" else (1, 3)
    return "; seeds " + ", ".join(f"{scale * record.result.mean:.{digits}f}" for record in records)


def best_first(metric: str, rows: list[Row], title: str) -> list[Row]:
    """Rows with a result under a protocol, the best first."""

    def key(row: Row) -> float:
        result = row.result(title)
        assert result is not None
        mean = result.mean if math.isfinite(result.mean) else math.inf
        return -mean if metric == "accuracy" else mean

    return sorted((row for row in rows if row.result(title)), key=key)


def floors(board: dict[str, Any], rows: list[Row], title: str) -> tuple[Result, ...]:
    """The floors that were measured on the tasks of a protocol; in how many steps rows adapt is nothing to them."""
    tasks = {name: {**asked, "steps": None} for name, asked in board["protocols"].items()}
    same = [name for name in tasks if tasks[name] == tasks[title]]
    found = (record.floors for name in same for row in rows for record in row.records.get(name, []))
    return next((floors for floors in found if floors), ())


def ps(rows: list[Row], title: str) -> dict[str, float]:
    """The adjusted p of each row against the first, episode by episode."""
    results = [result for row in rows if (result := row.result(title)) and all(map(math.isfinite, result.values))]
    adjusted = holm([paired(results[0], other)[1] for other in results[1:]])
    return dict(zip((other.name for other in results[1:]), adjusted, strict=True))


def cell(board: dict[str, Any], row: Row, title: str, lowest: tuple[Result, ...]) -> str:
    """One figure of a table, with the paper's, and the best floor where it is not cleared."""
    metric = board["metric"]
    result = row.result(title)
    if result is None:
        return ""
    text = shown(metric, result) + spread(metric, row.records[title])
    paper = board.get("published", {}).get(row.name, {}).get(title)
    return text + (f" [{paper:g}]" if paper is not None else "") + beaten(metric, result, lowest)


def beaten(metric: str, result: Result, lowest: tuple[Result, ...]) -> str:
    """What a figure has to say of the floors."""
    if not lowest:
        return ""
    better = metric == "accuracy"
    best = (max if better else min)(lowest, key=lambda floor: floor.mean)
    ahead = result.low > best.high if better else result.high < best.low
    return "" if ahead else f" **not ahead of {best.name}**"


def table(board: dict[str, Any], rows: list[Row], titles: list[str], known: list[Row]) -> list[str]:
    """Rows of a board that share their protocols, the best first, beside the floors that any row of it knows."""
    metric, first = board["metric"], titles[0]
    ordered = best_first(metric, rows, first)
    ordered += [row for row in rows if row not in ordered]
    p = ps(ordered, first)
    lines = [f"| method | {' | '.join(titles)} | *p* | outer steps | minutes |"]
    lines.append("|---|" + "---|" * (len(titles) + 3))
    for row in ordered:
        cells = [cell(board, row, title, floors(board, known, title)) for title in titles]
        said = "" if row.name not in p else ("< 0.001" if p[row.name] < 0.001 else f"{p[row.name]:.3f}")
        lines.append(f"| {row.name} | {' | '.join(cells)} | {said} | {trained(row.one.run)} | {minutes(row)} |")
    return lines


def trained(run: RunInfo) -> str:
    """The outer steps of a row, and those of the weights that were best on validation tasks, where it kept such."""
    whole: int = run.training["steps"]
    return f"{whole:,}" if run.steps == whole else f"{whole:,} (kept: {run.steps:,})"


def minutes(row: Row) -> str:
    """How long the weights that were kept took to train, of the quickest seed: what else a machine does only slows."""
    return f"{min(record.run.seconds for records in row.records.values() for record in records) / 60:.0f}"


def floor_lines(board: dict[str, Any], rows: list[Row], titles: list[str]) -> list[str]:
    """The floors as a table of their own."""
    by: dict[str, dict[str, Result]] = {}
    for title in titles:
        found = {floor.name: floor for floor in floors(board, rows, title)}
        if found and found not in by.values():
            by[title] = found
    if not by:
        return []
    lines = ["", f"| floor | {' | '.join(by)} |", "|---|" + "---|" * len(by)]
    for name in dict.fromkeys(name for found in by.values() for name in found):
        cells = [shown(board["metric"], found[name]) if name in found else "" for found in by.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def section(name: str, board: dict[str, Any]) -> list[str]:
    """A board as a section of the page."""
    rows = read(name, board)
    if not rows:
        return []
    inductive, transductive = ([row for row in rows if row.transductive is kind] for kind in (False, True))
    machine, usual = rows[0].one.machine, board["usual"]
    every = [record for row in rows for records in row.records.values() for record in records]
    processors = " or ".join(sorted({record.machine.processor for record in every}))
    episodes = {title: asked["episodes"] for title, asked in board["protocols"].items()}
    lines = [
        f"## {board['title']}",
        "",
        f"`python benchmarks/leaderboard.py {name}`; {processors}, {machine.threads} of {machine.cores} "
        f"threads, torch {machine.torch}; {min(episodes.values()):,} test episodes or more; "
        + ("accuracy in per cent." if board["metric"] == "accuracy" else "mean squared error, less is better."),
        "",
        *([board["note"], ""] if "note" in board else []),
        f"![{board['title']}](leaderboard-{name}.svg)",
        "",
    ]
    groups = [
        (usual, [row for row in inductive if set(row.records) & set(usual) and "only" not in board["rows"][row.name]])
    ]
    for title in board["protocols"]:
        own = [row for row in inductive if title in board["rows"][row.name].get("only", [])]
        groups += [([title], own)] if own else []
    for titles, members in groups:
        if members:
            lines += [*table(board, members, titles, inductive), ""]
    if transductive:
        lines += ["Transductive: all queries of an episode are seen at once, and influence each other.", ""]
        lines += [*table(board, transductive, usual, []), ""]
    lines += [*floor_lines(board, rows, list(board["protocols"])), ""]
    lines += [*(f"- {row}: {said}" for row, said in board.get("remarks", {}).items()), ""]
    return lines


def picture(name: str, board: dict[str, Any], rows: list[Row]) -> None:
    """Every row under the first protocol with its interval, and the paper's figure where it prints one."""
    metric, title = board["metric"], board["usual"][0]
    ordered = best_first(metric, rows, title)[::-1]
    scale = 100 if metric == "accuracy" else 1
    figure = Figure(figsize=(8, 1.1 + 0.26 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(ordered):
        result = row.result(title)
        assert result is not None
        colour = "#8a5fbf" if row.transductive else "#2a6fbb"
        axes.plot([scale * result.low, scale * result.high], [place, place], color=colour, linewidth=3)
        axes.plot(scale * result.mean, place, "o", color=colour, label="measured here" if not place else None)
        paper = board.get("published", {}).get(row.name, {}).get(title)
        if paper is not None:
            axes.plot(paper, place, "D", color="none", markeredgecolor="#c4572b")
    lowest = floors(board, rows, title)
    if lowest:
        best = (max if metric == "accuracy" else min)(lowest, key=lambda floor: floor.mean)
        axes.axvline(scale * best.mean, color="#777777", linestyle=":", label=f"best floor: {best.name}")
    axes.plot([], [], "D", color="none", markeredgecolor="#c4572b", label="the paper's, its own protocol")
    axes.set_yticks(range(len(ordered)), [row.name for row in ordered], fontsize=8)
    axes.set_ylim(-0.5, len(ordered) - 0.5)
    axes.set_xlabel(f"{title}: {'accuracy, per cent' if metric == 'accuracy' else 'mean squared error'}")
    if metric == "mse":  # errors of a board lie orders of magnitude apart
        axes.set_xscale("log")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8)
    with rc_context({"svg.hashsalt": "quickstudy"}):  # the same figures make the same file
        figure.savefig(ROOT / "docs" / f"leaderboard-{name}.svg", metadata={"Date": None})


def page() -> str:
    """The page, of every board and its records."""
    lines = [HEAD]
    for name in NAMES:
        lines += section(name, read_board(name))
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page and its pictures."""
    PAGE.write_text(page(), encoding="utf-8")
    for name in NAMES:
        board = read_board(name)
        if rows := read(name, board):
            picture(name, board, rows)


if __name__ == "__main__":
    main()
