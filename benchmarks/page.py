"""Render the results: one self-contained page, and the tables of benchmarks/README.md.

    python benchmarks/page.py                # build/bench/index.html, and the README's tables rewritten
    python benchmarks/page.py --quick        # of the quick runs' figures; the README is left alone

Everything is read from benchmarks/results/*.json; what was not measured is left out.
"""

from __future__ import annotations

import argparse
import html
import io
import sys
from pathlib import Path
from typing import Any

from harness.environments import FOLDER as BUILD
from harness.results import FOLDER, read

START, END = "<!-- figures: written by benchmarks/page.py -->", "<!-- end of figures -->"
STEPS = {
    "conv4-exact": "Exact MAML step: Conv-4 with 64 filters, 5-way 1-shot, 15 queries, 5 inner steps, 16 tasks",
    "conv4-first-order": "First-order MAML step, same setting",
    "sines": "Exact MAML step on sines: MLP 40-40, 25 tasks, 10 shots, 5 inner steps",
    "anil": "ANIL step: Conv-4, 5-way 1-shot, 15 queries, 5 inner steps, 16 tasks",
    "cavia": "CAVIA step: Conv-4, context of 100, 5-way 1-shot, 15 queries, 2 inner steps, 16 tasks",
    "protonet": "Prototypical step: Conv-4, 5-way 1-shot, 15 queries, 16 tasks",
    "matching": "Matching step, full-context embeddings: Conv-4, 5-way 1-shot, 15 queries, 16 tasks",
    "relation": "Relation step: Conv-4, 5-way 1-shot, 15 queries, 16 tasks",
    "r2d2": "R2-D2 step: Conv-4, 5-way 1-shot, 15 queries, 16 tasks",
    "metaoptnet": "MetaOptNet step, support vector machine: Conv-4, 5-way 1-shot, 15 queries, 16 tasks",
}
Table = tuple[list[str], list[list[str]]]
Section = tuple[str, str, list[Table], list[str]]
"""A heading, a line of text, tables, and plots as SVG."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    sections = gather(BUILD / "quick" if quick else FOLDER)
    BUILD.mkdir(parents=True, exist_ok=True)
    page = BUILD / ("quick.html" if quick else "index.html")
    page.write_text(as_html(sections))
    print(f"-> {page}")
    if not quick and sections:
        readme = FOLDER.parent / "README.md"
        readme.write_text(rewritten(readme.read_text(), as_markdown(sections)))
        print(f"-> {readme}")
    return 0


def gather(folder: Path) -> list[Section]:
    """The sections of all that was measured."""
    made: list[Section] = []
    for name, title in STEPS.items():
        found = read(name, folder)
        if found:
            made.append((title, conditions(found), [race_table(found)], [bars(found)]))
    for name, make in (
        ("floor", _floor),
        ("memory", _memory),
        ("sampling", _sampling),
        ("latency", _latency),
        ("workers", _workers),
        ("growth", _growth),
        ("to-accuracy", _to_accuracy),
        ("oracles", _oracles),
        ("defaults-sines", _defaults),
        ("defaults-omniglot", _defaults),
        ("defaults-cifar_fs", _defaults),
        ("denormals", _denormals),
        ("asking", _asking),
    ):
        found = read(name, folder)
        if found:
            made.append(make(found))
    return made


def conditions(found: dict[str, Any]) -> str:
    machine, versions = found["machine"], ", ".join(f"{k} {v}" for k, v in sorted(found["versions"].items()))
    return (
        f"{machine['date']}, {machine['processor']}, {machine['processors']} processors, {machine['threads']} thread a "
        f"process, load {machine['load']} at the end, Python {machine['python']}; {versions}."
    )


def race_table(found: dict[str, Any]) -> Table:
    """Times, ratios with their intervals, and how far the gradients are apart."""
    rows = []
    for row in found["rows"]:
        if "skipped" in row:
            rows.append([row["name"], f"not timed: {row['skipped']}", "", "", "", ""])
            continue
        double = row.get("gradient_apart_float64")
        apart = f"{row['gradient_apart']:.0e}" + (f" ({double:.0e})" if double is not None else "")
        times = [f"{row[clock]['median']:.3g}" for clock in ("cpu_ms", "wall_ms")]
        rows.append([row["name"], *times, ratio(row["cpu_ratio"]), ratio(row["wall_ratio"]), apart])
    head = ["", "CPU ms", "wall ms", "CPU time over the first row's", "wall time over the first row's"]
    return [*head, "gradient apart in float32 (float64)"], rows


def ratio(found: dict[str, Any]) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _memory(found: dict[str, Any]) -> Section:
    rows = [
        [row["name"], str(row["steps"]), f"not measured: {row['skipped']}", "", ""]
        if "skipped" in row
        else [
            row["name"],
            str(row["steps"]),
            *(f"{row[key]:.0f}" for key in ("peak_mb", "above_mb", "default_allocator_above_mb")),
        ]
        for row in found["rows"]
    ]
    ratios = [[r["what"], f"{r['peak_mb']:.2f}", f"{r['above_mb']:.2f}"] for r in found["ratios"]]
    head = ["", "inner steps", "peak MB", "MB above the process before", "the same with the allocator's defaults"]
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in found["rows"]:
        if "skipped" not in row:
            lines.setdefault(row["name"], []).append((row["steps"], row["above_mb"]))
    plots = [curves(lines, "inner steps", "MB above the process")]
    tables: list[Table] = [(head, rows), (["memory of", "whole process", "above the process before"], ratios)]
    return "Peak memory of one exact MAML step, one task", conditions(found), tables, plots


def _floor(found: dict[str, Any]) -> Section:
    kinds = list(found["rows"][0]["profile_ms"])
    rows = [
        [
            f"{row['order']}, {row['precision']}",
            str(row["convolutions"]),
            *(f"{row[key]:.1f}" for key in ("gflop", "floor_ms", "step_ms")),
            f"{100 * row['share']:.0f} %",
            *(f"{row['profile_ms'][kind]:.1f}" for kind in kinds),
        ]
        for row in found["rows"]
    ]
    head = ["", "convolutions", "GFLOP", "ms by the quickest kernels", "ms of quickstudy's step", "share"]
    head += [f"profile: {kind}" for kind in kinds]
    title = "The floor under a MAML step: its convolutions alone, one task of the setting above"
    return title, conditions(found), [(head, rows)], []


def _sampling(found: dict[str, Any]) -> Section:
    rows = [
        [row["name"], f"not timed: {row['skipped']}", ""]
        if "skipped" in row
        else [row["name"], f"{row['episodes_a_cpu_second']:,.0f}", ratio(row["cpu_ratio"])]
        for row in found["rows"]
    ]
    head = ["", "episodes a CPU second", "CPU time over the first row's"]
    return "Omniglot episodes, 20-way 5-shot, 5 queries a class", conditions(found), [(head, rows)], []


def _latency(found: dict[str, Any]) -> Section:
    table: Table = (["p50 ms", "p90 ms", "p99 ms"], [[f"{found[k]:.2f}" for k in ("p50_ms", "p90_ms", "p99_ms")]])
    title = f"Adapt and predict, prototypical Conv-4, 5-way 5-shot, one task, {found['calls']} calls"
    return title, conditions(found), [table], []


def _workers(found: dict[str, Any]) -> Section:
    rows = [
        [str(row["workers"]), f"{row['tasks_a_second']:.1f}", ratio(row["throughput"]), f"{row['losses_apart']:.1e}"]
        for row in found["rows"]
    ]
    head = ["workers", "tasks a second", "throughput over the fewest", "losses apart, at most"]
    return "Worker processes, one thread each: MAML on Conv-4, 16 tasks a step", conditions(found), [(head, rows)], []


def _oracles(found: dict[str, Any]) -> Section:
    rows = [
        [row["test"].removeprefix("test_").replace("_", " "), row["what"], f"{row['apart']:.1e}", f"{row['limit']:.0e}"]
        for row in found["rows"]
    ]
    head = ["", "compared", "‖ours - theirs‖ / ‖theirs‖", "limit"]
    return "Solvers, closed forms and scores beside other people's", conditions(found), [(head, rows)], []


def _defaults(found: dict[str, Any]) -> Section:
    rows = []
    for name, row in found["rows"].items():
        if "reason" in row:
            rows.append([name, str(row["steps"]), "", "", row["reason"], ""])
            continue
        gain = f"{row['gain']:.3g} ({row['low']:.3g} to {row['high']:.3g})"
        told = gain if row["learns"] else f"**{gain}**"
        rows.append(
            [name, str(row["steps"]), f"{row['before']:.3g}", f"{row['after']:.3g}", told, f"{row['seconds']:.0f}"]
        )
    tasks = found["part"].removeprefix("defaults-")
    score = "mean squared error" if tasks == "sines" else "accuracy"
    head = ["", "outer steps", "before", "after", "gained, task by task (95 % interval)", "seconds"]
    title = f"Every method with its defaults on {tasks}: {score} on {found['validation tasks']} validation tasks"
    return title, _alone(found), [(head, rows)], []


def _denormals(found: dict[str, Any]) -> Section:
    rows = [[name, f"{row['kept']:.1f}", f"{row['taken as 0']:.1f}"] for name, row in found["rows"].items()]
    head = ["", "kept, CPU ms", "taken as 0, CPU ms"]
    return "Numbers below the normal range", _alone(found), [(head, rows)], []


def _asking(found: dict[str, Any]) -> Section:
    rows = [
        [
            name,
            f"{row['mapped']:.1f}",
            f"{row['one by one']:.1f}",
            f"{row['one by one'] / row['mapped']:.2f}",
            row["chosen"],
        ]
        for name, row in found["rows"].items()
    ]
    head = ["", "mapped, CPU ms a task", "one by one, CPU ms a task", "ratio", "chosen"]
    return "Learners with convolutions of their own, asked on a CPU", _alone(found), [(head, rows)], []


def _alone(found: dict[str, Any]) -> str:
    return f"{found['machine']['date']}, {found['machine']['processor']}, one thread."


def _growth(found: dict[str, Any]) -> Section:
    rows, plots = [], []
    for name, axis in found["axes"].items():
        powers = [
            f"{axis[key]['exponent']:.2f} ± {axis[key]['error']:.2f}" if key in axis else "flat"
            for key in ("cpu_ms_exponent", "above_mb_exponent")
        ]
        sizes = [row[axis["field"]] for row in axis["rows"]]
        rows.append([name, f"{sizes[0]} to {sizes[-1]}", *powers])
        lines = {
            "CPU ms": [(row[axis["field"]], row["cpu_ms"]) for row in axis["rows"]],
            "MB": [(row[axis["field"]], row["above_mb"]) for row in axis["rows"] if row["above_mb"] > 0],
        }
        plots.append(curves(lines, name, "cost of a step"))
    head = ["against", "sizes", "exponent of CPU time", "exponent of memory"]
    text = "Exponents over the larger half of the sizes. " + conditions(found)
    return "How cost grows", text, [(head, rows)], plots


def _to_accuracy(found: dict[str, Any]) -> Section:
    rows, lines = [], {}
    for row in found["rows"]:
        if "skipped" in row:
            rows.append([row["name"], f"not measured: {row['skipped']}", "", "", ""])
            continue
        last = row["curve"][-1]
        times = f"{row['ratio']:.1f}" if row["reached"] else f"more than {row['ratio']:.1f}"
        figures = [f"{last['seconds']:.0f}", str(last["steps"]), f"{100 * last['accuracy']:.1f} %"]
        rows.append([row["name"], *figures, times])
        lines[row["name"]] = [(each["seconds"], 100 * each["accuracy"]) for each in row["curve"]]
    head = ["", "seconds of training", "steps", "accuracy then", "time over the first row's"]
    title = f"Time to {100 * found['target']:.0f} % on Omniglot's validation classes, 5-way 1-shot"
    return title, conditions(found), [(head, rows)], [curves(lines, "seconds of training", "accuracy, per cent")]


def bars(found: dict[str, Any]) -> str:
    """CPU time of each contender over the first's, with intervals."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    rows = [row for row in found["rows"] if "cpu_ratio" in row][::-1]
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.35 * len(rows)), layout="constrained")
    middle = [row["cpu_ratio"]["median"] for row in rows]
    error = [
        [m - row["cpu_ratio"]["low"] for m, row in zip(middle, rows, strict=True)],
        [row["cpu_ratio"]["high"] - m for m, row in zip(middle, rows, strict=True)],
    ]
    colours = ["#2b6cb0" if row["name"].startswith("quickstudy") else "#a0aec0" for row in rows]
    axes.barh([row["name"] for row in rows], middle, xerr=error, color=colours, ecolor="#1a202c")
    axes.axvline(1, color="#1a202c", linewidth=0.8)
    if max(middle) > 20 * min(middle):
        axes.set_xscale("log")
    axes.set_xlabel("CPU time of a step over the first row's")
    return _svg(figure)


def curves(lines: dict[str, list[tuple[float, float]]], x: str, y: str) -> str:
    """Lines on logarithmic axes."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    for name, points in lines.items():
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axes.legend(frameon=False, fontsize="small")
    return _svg(figure)


def _svg(figure: Any) -> str:
    from matplotlib import pyplot

    drawn = io.StringIO()
    with pyplot.rc_context({"svg.hashsalt": "quickstudy"}):  # the same figures make the same file
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]


def as_html(sections: list[Section]) -> str:
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}table{border-collapse:"
        "collapse;font-size:.9rem}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:left}svg{max-width:"
        "100%;height:auto}.note{color:#555;font-size:.85rem}"
    )
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>Benchmarks</title><style>{style}</style>"]
    parts.append("<h1>quickstudy beside its peers</h1>")
    for title, text, tables, plots in sections:
        parts.append(f"<h2>{html.escape(title)}</h2>")
        for head, rows in tables:
            cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
            body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
            parts.append(f"<table><tr>{cells}</tr>{body}</table>")
        parts += [*plots, f"<p class=note>{html.escape(text)}</p>"]
    return "\n".join([*parts, "</html>\n"])


def as_markdown(sections: list[Section]) -> str:
    parts = []
    for title, text, tables, _ in sections:
        parts.append(f"### {title}")
        for head, rows in tables:
            lines = [head, ["---"] * len(head), *rows]
            parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        parts.append(text)
    return "\n\n".join(parts)


def rewritten(readme: str, figures: str) -> str:
    """The README with what stands between its two marks replaced; the marks are put at its end where it has none."""
    before, _, rest = readme.partition(START)
    after = rest.partition(END)[2] if rest else "\n"
    return f"{before.rstrip()}\n\n{START}\n\n{figures}\n\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
