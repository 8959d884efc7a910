"""Write docs/results.md with its picture, and the README's table: `python recipes/results.py`.

They are made from the records in docs/records and from nothing else.

To add a result: train a recipe, evaluate the run, copy its evaluation.json to docs/records under a telling name.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quickstudy.evaluate.record import Record, Result

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "records"
PICTURE = ROOT / "docs" / "results.svg"
PAPERS: dict[tuple[str, object, object, object], float] = {
    ("protonet", "vinyals", 5, 1): 0.988,
    ("protonet", "vinyals", 20, 1): 0.960,
    ("maml", "vinyals", 5, 1): 0.987,
    ("r2d2", "cifar_fs", 5, 1): 0.600,
    ("r2d2", "cifar_fs", 5, 5): 0.761,
}
"""Accuracies that the papers print, by method, split or data, ways and shots, each under its own protocol: Snell et al.
2017, table 1, retrained on train and validation classes; Finn et al. 2017, table 1, transductive on a random split;
Bertinetto et al. 2019, first version (arXiv 1805.08136v1), with a net of 64 filters."""
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
OPEN, CLOSE = "<!-- results -->", "<!-- /results -->"

HEAD = """# Results

Made by `python recipes/results.py` from the records in `docs/records`; no figure is typed but those of earlier tries,
told below.
Each record states its protocol, machine and every episode's score. Intervals are 95 %: over episodes (Student's t),
which says how well the test episodes were sampled, and for classification over classes (bootstrap): how much
another draw of test classes might change the figure. Weights are the best by validation.

![Every accuracy with its interval, and the paper's where it prints one](results.svg)

Settings were chosen on validation tasks. Recipes that were changed after an earlier version had been scored on test
episodes are scored on fresh ones, so their seeds differ. The earlier figures: prototypical networks on train classes,
20-way, 95.0 % (1,500 steps, seed 0) and 95.8 % (4,000 steps, seed 1); MAML on Omniglot 92.4 % (1,333 steps of 16
tasks, seed 0), 92.9 % (2,983 steps of 8, seed 1), 93.33 % (4,500 of 8 in float32, seed 2), 93.27 % (the same in
bfloat16, seed 4) and 94.56 % (9,000 steps in 52 minutes, seed 3), transductive 92.0 % (621 steps of 16, seed 0) and
93.90 % (4,500 of 8, seed 3): all by a net that halved images by strides, at inner steps of 0.4, and no better than the
ten minutes with pooling on the [leaderboard](leaderboards.md), where MAML is told transductively, too. MAML on sines
after 1, 5 and 10 inner steps: 0.659, 0.406 and 0.446 (30,000 steps, seed 1).
Three later versions were scored too, and are not the recipe: 150,000 steps along a cosine, of which validation
chose 25,000, 0.712, 0.388 and 0.327 (seed 3, whose tasks were harder: a function that does not adapt had an error of
3.12, against 3.01 on average); and 70,000 steps along a cosine, 0.599 after one step, 0.696 after five and no finite
mean after ten (seed 4). Recipes before this one: 40,000 steps at a rate that stays 0.001 had 0.686, 0.420 and 0.314
(seed 2), and these 24,000, with weights chosen on 1,000 validation tasks, 0.702, 0.368 and 0.324 (seed 6). A start
that was trained for one step gets better at one step for as long as it is trained, and makes more tasks diverge in
five or ten: some in ten thousand, so that a mean over many tasks depends on whether one of them is among them. The
floors of prototypical networks were first measured as 68.8 % (linear probe) and 72.2 % (fine-tuning), when moments of
Conv-4's first layer lost digits in float32; they are measured anew, on the same episodes.

Proto-MAML's inner steps change none of its answers: from one example each, heads that start at the class means already
leave next to no loss on the support to step down, and its accuracy is that of its start.

The copy of CIFAR-FS that R2-D2 was measured on has fewer validation and test images a class than the original: 150 and
250 of 600. Without mirrored and moved training images (`--tasks.augment none --steps 15000`, stopped after 9,000), its
accuracy on validation tasks stood at 46 % after 4,500 steps and fell from there; with them it rose to 50 %.

The machine was busy with other work while these runs trained: minutes are more than the same run needs on an idle one.
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
    steps = record.curves.steps
    if steps is not None and record.result.mean in steps.mean:  # it is of all episodes, more than are usual
        flags["curve-episodes"] = asked.episodes
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
    """A record's method in words, with its steps and what its reader must know of its classes and normalisation."""
    steps, training = record.run.method_settings.get("steps"), record.run.training
    taken = f", {steps} inner step{'s' if steps > 1 else ''}" if steps else ""
    classes = ", trained on train and validation" if training.get("split") == "train+val" else ""
    transductive = ", **transductive**" if record.run.transductive else ""
    return f"{record.run.method}{taken}, {training['steps']:,} outer steps{classes}{transductive}"


def line(record: Record, known: list[Record]) -> str:
    """A record as one row of the README's table, beside the best floor that is known of its tasks."""
    floors, beside = floors_of(record, known)
    better = min if record.result.metric == "mse" else max
    floor = better(floors, key=lambda result: result.mean) if floors else None
    beaten = f"{floor.name}: {figure(floor)}{beside}" if floor else "not measured"
    return f"| {called(record)} | {tasks(record)} | {figure(record.result)} | {beaten} |"


def floors_of(record: Record, known: list[Record]) -> tuple[tuple[Result, ...], str]:
    """Its own floors, or those of another record of the same kind of tasks, and what is to be said of these."""
    if record.floors:
        return record.floors, ""

    def kind(of: Record) -> tuple[object, ...]:
        return of.protocol.tasks, of.protocol.split, of.run.training.get("split", "train")

    return next(
        ((of.floors, ", on other episodes") for of in known if of.floors and kind(of) == kind(record)), ((), "")
    )


def picture(records: list[Record]) -> None:
    """Every accuracy with its interval over episodes, and the paper's beside it where it prints one, by data set."""
    panels: dict[str, list[Record]] = {}
    for record in records[::-1]:
        if record.result.metric == "accuracy":
            panels.setdefault(record.protocol.tasks["name"], []).append(record)
    rows = [len(shown) for shown in panels.values()]
    figure = Figure(figsize=(8, 0.6 * len(rows) + 0.42 * sum(rows)), layout="constrained")
    each = figure.subplots(len(rows), squeeze=False, height_ratios=rows)[:, 0]
    for axes, shown in zip(each, panels.values(), strict=True):
        panel(axes, shown)
    each[-1].set_xlabel("accuracy on test tasks, per cent")
    figure.legend(*each[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    with rc_context({"svg.hashsalt": "quickstudy"}):  # the same figures make the same file
        figure.savefig(PICTURE, metadata={"Date": None})


def panel(axes: Axes, shown: list[Record]) -> None:
    """The accuracies of one data set."""
    papers = []
    for row, record in enumerate(shown):
        found, asked = record.result, record.protocol
        axes.plot([100 * found.low, 100 * found.high], [row, row], color="#2a6fbb", linewidth=3, solid_capstyle="round")
        axes.plot(
            100 * found.mean, row, "o", color="#2a6fbb", label="measured here, 95 % over episodes" if not row else None
        )
        data = asked.tasks.get("scheme", asked.tasks["name"])
        paper = PAPERS.get((record.run.method, data, asked.ways, asked.shots))
        if paper is not None:
            papers.append((100 * paper, row))
    if papers:
        axes.plot(
            *zip(*papers, strict=True),
            "D",
            color="none",
            markeredgecolor="#c4572b",
            label="the paper's, its own protocol",
        )
    axes.set_yticks(range(len(shown)), [f"{called(r).replace('**', '')}\n{tasks(r)}" for r in shown], fontsize=8)
    axes.set_ylim(-0.5, len(shown) - 0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def read() -> dict[str, Record]:
    """Every record by its name."""
    return {path.stem: Record.read(path) for path in sorted(RECORDS.glob("*.json"))}


def page(records: dict[str, Record]) -> str:
    """The page."""
    return "\n".join([HEAD, *(section(name, record) for name, record in records.items())])


def with_table(readme: str, records: dict[str, Record]) -> str:
    """The README with its table, between two marks, made of the records."""
    before, _, rest = readme.partition(OPEN)
    _, _, after = rest.partition(CLOSE)
    table = ["| method | test tasks | result (95 % interval) | best floor |", "|---|---|---|---|"]
    boards = [Record.read(path) for path in sorted((RECORDS / "leaderboards").glob("*/*.json")) if path.stem != "paces"]
    known = [*records.values(), *boards]
    table += [line(record, known) for record in records.values()]
    return "\n".join([before + OPEN, *table, CLOSE + after])


def main() -> None:
    """Read every record; write the page with its picture, and the README's table."""
    records = read()
    picture(list(records.values()))
    PAGE.write_text(page(records), encoding="utf-8")
    README.write_text(with_table(README.read_text(encoding="utf-8"), records), encoding="utf-8")


if __name__ == "__main__":
    main()
