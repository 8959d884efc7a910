"""Write docs/results.md with its picture, and the README's table: `python recipes/results.py`.

They are made from the records in docs/records and from nothing else.

To add a result: train a recipe, evaluate the run, copy its evaluation.json to docs/records under a telling name.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from quickstudy.evaluate.record import Record, Result

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "records"
PICTURE = ROOT / "docs" / "results.svg"
PAPERS: dict[tuple[str, object, object], float] = {
    ("protonet", "vinyals", 5): 0.988,
    ("protonet", "vinyals", 20): 0.960,
    ("maml", "vinyals", 5): 0.987,
}
"""Accuracies that the papers print for one shot, by method, split and ways, each under its own protocol: Snell et al.
2017, table 1, retrained on train and validation classes; Finn et al. 2017, table 1, transductive on a random split."""
OPEN, CLOSE = "<!-- results -->", "<!-- /results -->"

HEAD = """# Results

Made by `python recipes/results.py` from the records in `docs/records`; no figure is typed.
Each record states its protocol, machine and every episode's score. Intervals are 95 %: over episodes (Student's t),
which says how well the test episodes were sampled, and for classification over classes (bootstrap): how much
another draw of test classes might change the figure. Weights are the best by validation.

![Every accuracy with its interval, and the paper's where it prints one](results.svg)

Settings were chosen on validation tasks. Three recipes were changed after an earlier version of them had been scored on
test episodes of seed 0, and are therefore scored on fresh ones (seed 1): prototypical networks (1,500 steps in float32,
20-way 95.0 %, 94.9 to 95.2), MAML on Omniglot (1,333 steps of 16 tasks, 92.4 %, 92.0 to 92.8) and MAML on sines (30,000
steps along a cosine, an error of 0.762, 0.724 to 0.800, after one step; 70,000 such steps reached 0.639, but after ten
inner steps some tasks diverged, which is why that recipe was given up). MAML on Omniglot was planned for 24 minutes and
gone on with to 33 on the strength of its validation. The machine was busy with other work while these runs trained, so
minutes are more than the same run needs on an idle one.

Curves are measured on the first 300 episodes. On sines a few tasks diverge when they take more steps than were trained:
over all 2,000 episodes the error is 0.406 (0.372 to 0.439) after 5 steps and 0.446 (0.216 to 0.676) after 10, from
`evaluate(method, Sines(shots=5, queries=100).source("test", 1), episodes=2000, steps=5)`.
"""


def figure(result: Result) -> str:
    """A result with its interval over episodes: per cent for accuracy, plain for errors."""
    return shown(result.metric, result.mean, result.low, result.high)


def shown(metric: str, mean: float, low: float, high: float) -> str:
    """A figure with its interval."""
    if metric == "accuracy":
        return f"{100 * mean:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def over_classes(result: Result) -> str:
    """The interval over classes, where there is one."""
    if result.class_low is None or result.class_high is None:
        return ""
    return f"{100 * result.class_low:.2f} to {100 * result.class_high:.2f}"


def options(record: Record) -> str:
    """The flags that ask `quickstudy evaluate` for the protocol of a record."""
    asked = record.protocol
    flags = {"ways": asked.ways, "shots": asked.shots, "queries": asked.queries, "episodes": asked.episodes}
    flags["seed"] = asked.seed or None
    return "".join(f" --{name} {value}" for name, value in flags.items() if value is not None)


def section(name: str, record: Record) -> str:
    """One record as a section: what was asked, the result beside every floor, curves, and how to repeat it."""
    run, asked, machine = record.run, record.protocol, record.machine
    rows = [f"| {called(record)} | **{figure(record.result)}** | {over_classes(record.result)} |"]
    rows += [f"| {floor.name} | {figure(floor)} | {over_classes(floor)} |" for floor in record.floors]
    policy = f"{run.normalisation}{' (**transductive**)' if run.transductive else ''}"
    lines = [
        f"## {name.replace('-', ' ')}",
        "",
        f"{tasks(record)}, {asked.queries} queries, {asked.episodes} {asked.split} episodes under seed "
        f"{asked.seed} (digest `{asked.digest}`). Normalisation: {policy}. "
        f"{run.steps} steps in {run.seconds / 60:.1f} minutes, seed {run.seed}, {run.parameters:,} weights; "
        f"{machine.processor}, {machine.threads} of {machine.cores} threads, torch {machine.torch}.",
        "",
        f"`quickstudy train --config recipes/{run.name}.yaml --out runs/{run.name}`  ",
        f"`quickstudy evaluate runs/{run.name}{options(record)}`",
        "",
        "| | mean (95 % over episodes) | over classes |",
        "|---|---|---|",
        *rows,
        "",
    ]
    steps = record.curves.steps
    if steps is not None:
        points = zip(steps.x, steps.mean, steps.low, steps.high, strict=True)
        lines += ["| inner steps | mean (95 % over episodes) |", "|---|---|"]
        lines += [f"| {x:g} | {shown(record.result.metric, *values)} |" for x, *values in points]
        lines += [""]
    return "\n".join(lines)


def tasks(record: Record) -> str:
    """A record's tasks in words."""
    asked = record.protocol
    what = " ".join(str(asked.tasks[key]) for key in ("name", "scheme") if key in asked.tasks)
    size = f"{asked.ways}-way {asked.shots}-shot" if asked.ways else f"{asked.shots} support points"
    return f"{what}, {size}"


def called(record: Record) -> str:
    """A record's method in words, with its inner steps and what its reader must know of its normalisation."""
    steps = record.run.method_settings.get("steps")
    taken = f", {steps} inner step{'s' if steps > 1 else ''}" if steps else ""
    return f"{record.run.method}{taken}{', **transductive**' if record.run.transductive else ''}"


def line(record: Record) -> str:
    """A record as one row of the README's table."""
    floors = record.floors
    better = min if record.result.metric == "mse" else max
    floor = better(floors, key=lambda result: result.mean) if floors else None
    beaten = f"{floor.name}: {figure(floor)}" if floor else "not measured"
    return f"| {called(record)} | {tasks(record)} | {figure(record.result)} | {beaten} |"


def picture(records: list[Record]) -> None:
    """Every accuracy with its interval over episodes, and the paper's beside it where it prints one."""
    shown = [record for record in records if record.result.metric == "accuracy"][::-1]
    figure = Figure(figsize=(8, 0.6 + 0.42 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    papers = []
    for row, record in enumerate(shown):
        found = record.result
        axes.plot([100 * found.low, 100 * found.high], [row, row], color="#2a6fbb", linewidth=3, solid_capstyle="round")
        axes.plot(
            100 * found.mean, row, "o", color="#2a6fbb", label="measured here, 95 % over episodes" if not row else None
        )
        paper = PAPERS.get((record.run.method, record.protocol.tasks.get("scheme"), record.protocol.ways))
        if paper is not None and record.protocol.shots == 1:
            papers.append((100 * paper, row))
    axes.plot(
        *zip(*papers, strict=True), "D", color="none", markeredgecolor="#c4572b", label="the paper's, its own protocol"
    )
    axes.set_yticks(range(len(shown)), [f"{called(r).replace('**', '')}\n{tasks(r)}" for r in shown], fontsize=8)
    axes.set_xlabel("accuracy on test tasks, per cent")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Read every record; write the page, and the table between the README's two marks."""
    records = {path.stem: Record.read(path) for path in sorted(RECORDS.glob("*.json"))}
    picture(list(records.values()))
    page = [HEAD, *(section(name, record) for name, record in records.items())]
    (ROOT / "docs" / "results.md").write_text("\n".join(page), encoding="utf-8")
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(OPEN)
    _, _, after = rest.partition(CLOSE)
    table = ["| method | test tasks | result (95 % interval) | best floor |", "|---|---|---|---|"]
    table += [line(record) for record in records.values()]
    readme.write_text("\n".join([before + OPEN, *table, CLOSE + after]), encoding="utf-8")


if __name__ == "__main__":
    main()
