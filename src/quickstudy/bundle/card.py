"""The README.md of a bundle: what it is, how it was made, how well it does and how to use it, for people."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["card"]

# Of the identifiers that the Hugging Face hub knows, those that weights commonly bear.
_KNOWN_LICENCES = {
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "bsd-2-clause",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "gpl-3.0",
}

_TAKES = {"image": "images", "vector": "rows of numbers", "text": "texts"}


def card(entries: dict[str, Any], kind: str, ways: int | None) -> str:
    """The card of a bundle with these entries of its bundle.yaml.

    Args:
        entries: As they are written.
        kind: What the encoder takes.
        ways: The most classes that it takes; None for any number.
    """
    parts = [_front(entries), _about(entries, kind, ways), _use(entries), _training(entries), _results(entries)]
    parts += [_calibration(entries), _licence(entries)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(entries: dict[str, Any]) -> str:
    licence = entries["licence"].lower()
    lines = ["library_name: quickstudy", "tags: [meta-learning, few-shot-learning, pytorch]"]
    if licence:
        lines.append(f"license: {licence if licence in _KNOWN_LICENCES else 'other'}")
    return "\n".join(["---", *lines, "---"])


def _about(entries: dict[str, Any], kind: str, ways: int | None) -> str:
    name, net = entries["method"]["name"], entries["net"]["name"]
    if entries["likelihood"] == "gaussian":
        what = f"learns a function of {_TAKES[kind]} from a few values of it"
    else:
        most = "any number of" if ways is None else f"up to {ways}"
        what = f"tells {most} new classes of {_TAKES[kind]} apart after a few examples of each"
    return (
        f"# {_plain(entries['name'])}\n\nA quickstudy bundle, version `{entries['version']}`. It {what}, without "
        f"further training. Inside: the method `{name}` on the net `{net}`, for inputs of shape {entries['item']}, "
        f"made by the encoder `{entries['encoder']['name']}`."
    )


def _use(entries: dict[str, Any]) -> str:
    if entries["likelihood"] == "gaussian":
        few, labels, said = "as many as there are values", "[0.3, 1.2, -0.7, 0.1]", "values [n, 1]"
    else:
        few, labels, said = "a few of each class", "[0, 0, 1, 1], ways=2", "probabilities [n, ways]"
    return f"""\
## Use

```python
from quickstudy import Bundle

bundle = Bundle.open("this-folder")
x = bundle.encoder.encode(examples)  # {few}
learner = bundle.adapt(x, {labels})
bundle.predict(learner, bundle.encoder.encode(others)).mean  # {said}
```

`quickstudy serve this-folder` answers over HTTP. Nothing in this folder is code or a pickle; `bundle.yaml` holds the
hashes that are checked when it is opened."""


def _training(entries: dict[str, Any]) -> str:
    told = entries["provenance"]
    tasks, training = told.get("tasks") or {}, told.get("training") or {}
    if not training:
        return ""
    rows = {
        "Trained on": f"{tasks.get('name')} ({len(entries['labels'])} classes)" if tasks else "",
        "Training episodes": f"fingerprint `{told.get('data')}`",
        "Steps": training.get("step"),
        "Seconds": None if training.get("seconds") is None else f"{training['seconds']:.0f}",
        "Made with": f"quickstudy {told.get('quickstudy')}, torch {told.get('torch')}",
    }
    return "## Training\n\n" + _table({name: value for name, value in rows.items() if value})


def _results(entries: dict[str, Any]) -> str:
    found = entries["provenance"].get("evaluation")
    if not found or not math.isfinite(found["mean"]):
        return ""
    sizes = f"{found['ways']}-way " * bool(found.get("ways")) + f"{found['shots']}-shot " * bool(found.get("shots"))
    figure = f"{found['metric']} {found['mean']:.4f} (95% interval {found['low']:.4f} to {found['high']:.4f})"
    return f"## Evaluation\n\n{figure} over {found['episodes']} {sizes}{found['split']} tasks, `{found['digest']}`."


def _calibration(entries: dict[str, Any]) -> str:
    if not entries["novelty"]:
        return ""
    rows = [
        f"| {each['ways']} | {each['shots']} | {each['temperature']:.3g} | {each['score']} | {each['auroc']:.3f} |"
        for each in entries["novelty"]
    ]
    return "\n".join(
        [
            "## Calibration",
            "",
            "Probabilities are taken at the temperature that made the right classes of validation tasks likeliest.",
            "Inputs of no class are flagged below a familiarity that 95 of 100 of the right classes had there:",
            "",
            "| Ways | Shots | Temperature | Familiarity | AUROC |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _licence(entries: dict[str, Any]) -> str:
    return f"## Licence\n\n{_plain(entries['licence']) or 'Not stated by whoever made this bundle.'}"


def _table(rows: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_plain(str(value))} |" for name, value in rows.items())])


def _plain(text: str) -> str:
    """Text of others without line breaks and without what Markdown or HTML would make something of."""
    flat = " ".join(text.split())
    for mark in "\\<>|[]*#":
        flat = flat.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return flat
