"""Write docs/results.md from the records in docs/records: `python recipes/results.py`. No figure on that page is typed.

To add a result: train a recipe, evaluate the run, copy its evaluation.json to docs/records under a telling name.
"""

from __future__ import annotations

from pathlib import Path

from quickstudy.evaluate.record import Record, Result

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "records"

HEAD = """# Results

Made by `python recipes/results.py` from the records in `docs/records`; no figure is typed.
Each record states its protocol, machine and every episode's score. Intervals are 95 %: over episodes (Student's t),
which says how well the test episodes were sampled, and for classification over classes (bootstrap): how much
another draw of test classes might change the figure. Test tasks chose nothing; weights are the best by validation.
"""


def figure(result: Result) -> str:
    """A result with its interval over episodes: per cent for accuracy, plain for errors."""
    if result.metric == "accuracy":
        return f"{100 * result.mean:.2f} % ({100 * result.low:.2f} to {100 * result.high:.2f})"
    return f"{result.mean:.3f} ({result.low:.3f} to {result.high:.3f})"


def over_classes(result: Result) -> str:
    """The interval over classes, where there is one."""
    if result.class_low is None or result.class_high is None:
        return ""
    return f"{100 * result.class_low:.2f} to {100 * result.class_high:.2f}"


def options(record: Record) -> str:
    """The flags that ask `quickstudy evaluate` for the protocol of a record."""
    asked = record.protocol
    flags = {"ways": asked.ways, "shots": asked.shots, "queries": asked.queries, "episodes": asked.episodes}
    return "".join(f" --{name} {value}" for name, value in flags.items() if value is not None)


def section(name: str, record: Record) -> str:
    """One record as a section: what was asked, the result beside every floor, curves, and how to repeat it."""
    run, asked, machine = record.run, record.protocol, record.machine
    scheme = ", ".join(f"{key} {value}" for key, value in asked.tasks.items() if key in ("name", "scheme"))
    shape = f"{asked.ways}-way {asked.shots}-shot" if asked.ways else f"{asked.shots} support points"
    rows = [f"| **{run.method}** | **{figure(record.result)}** | {over_classes(record.result)} |"]
    rows += [f"| {floor.name} | {figure(floor)} | {over_classes(floor)} |" for floor in record.floors]
    policy = f"{run.normalisation}{' (**transductive**)' if run.transductive else ''}"
    lines = [
        f"## {name.replace('-', ' ')}",
        "",
        f"{scheme}; {shape}, {asked.queries} queries, {asked.episodes} {asked.split} episodes under seed {asked.seed} "
        f"(digest `{asked.digest}`). Normalisation: {policy}. "
        f"{run.steps} steps in {run.seconds / 60:.1f} minutes, seed {run.seed}, {run.parameters:,} weights; "
        f"{machine.processor}, {machine.threads} of {machine.cores} threads, torch {machine.torch}.",
        "",
        f"`quickstudy train --config recipes/{run.name}.yaml --out runs/{run.name}`  ",
        f"`quickstudy evaluate runs/{run.name}{options(record)}`",
        "",
        "| | mean | over classes |",
        "|---|---|---|",
        *rows,
        "",
    ]
    steps = record.curves.steps
    if steps is not None:
        scale = 100 if record.result.metric == "accuracy" else 1
        lines += [
            "| inner steps | " + " | ".join(f"{x:g}" for x in steps.x) + " |",
            "|---|" + "---|" * len(steps.x),
            "| mean | " + " | ".join(f"{scale * mean:.2f}" for mean in steps.mean) + " |",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Read every record, write the page."""
    sections = [section(path.stem, Record.read(path)) for path in sorted(RECORDS.glob("*.json"))]
    (ROOT / "docs" / "results.md").write_text("\n".join([HEAD, *sections]), encoding="utf-8")


if __name__ == "__main__":
    main()
