"""`quickstudy profile`: where a training step's time and memory go, and which setting would help."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quickstudy.cli import recipe, screen
from quickstudy.cli.train import Command, fixed
from quickstudy.cli.train import command as like_train
from quickstudy.errors import SettingsError

if TYPE_CHECKING:
    from quickstudy.train.profile import Profile, Trial

__all__ = ["EXAMPLES", "command"]

EXAMPLES = """\
It takes the same settings as `quickstudy train`, trains a few steps and keeps
nothing of them. Let nothing else run meanwhile.

Examples:
  quickstudy profile maml --tasks omniglot --batch 16
  quickstudy profile --config recipe.yaml --compiled
"""

_DOC = """Say where a training step's time and memory go, and which setting would make it quicker or smaller.

A step is taken apart (sampling, transfer, inner loop, query, outer gradient, optimizer), then timed whole as the run is
and under each other setting that gives the same result but for rounding.
"""

REPEATS = 5
WORTH_SAYING = 0.95
"""A setting is advised if the step then takes at most this share of its time."""


def command(argv: Sequence[str]) -> Callable[..., int]:
    """The function behind `profile`, with the flags that `argv` calls for in its signature."""
    return like_train(argv, Command(_DOC, _FIXED, _profile))


_FIXED = [
    fixed("repeats", int | None, "INT", f"Steps timed for each figure. [default: {REPEATS}]"),
    fixed("compiled", bool, "", "Try the compiled step too: a minute or so."),
    fixed("json", bool, "", "Print JSON, and nothing else, on standard output."),
]


def _profile(given: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    repeats = REPEATS if values.get("repeats") is None else values["repeats"]
    if repeats < 1:
        raise SettingsError(f"--repeats {repeats}: nothing would be timed. Give a whole number from 1, e.g. {REPEATS}.")
    from quickstudy.cli.session import with_net
    from quickstudy.train.profile import changes, profile, tried

    settings = with_net(recipe.checked(given).run)
    found = profile(settings, repeats)
    asked = changes(settings, compiled=values.get("compiled", False))
    outcome: list[Trial] = []
    with screen.progress("Trying settings", len(asked), quiet=values.get("json", False)) as ticker:
        for change in asked:
            ticker.at(len(outcome), _flags(change))
            outcome.append(tried(settings, change, repeats))
    if values.get("json"):
        screen.json_out(_plain(found, outcome))
    else:
        _show(found, outcome)
    return 0


def _show(found: Profile, trials: Sequence[Trial]) -> None:
    whole = sum(part.seconds for part in found.parts)
    rows = [[part.name, _time(part.seconds), f"{part.seconds / whole:.0%}"] for part in found.parts]
    screen.say(f"A step of {found.tasks} tasks, {found.plan}:\n")
    screen.table(["part", "a step", "share"], rows, right=[1, 2])
    usual = trials[0].seconds
    rows = [
        [
            _flags(trial.change) or "as it is",
            _time(trial.seconds),
            f"{usual / trial.seconds:.2f}x" if math.isfinite(trial.seconds) else "",
            "" if trial.memory is None else f"{trial.memory / 2**20:.0f} MiB",
            trial.note,
        ]
        for trial in trials
    ]
    screen.say("\nWhole steps, the quickest of each; memory is what the step adds at its peak:\n")
    screen.table(["setting", "a step", "speed", "memory", ""], rows, right=[1, 2, 3])
    screen.say("\n" + _advice(trials))


def _advice(trials: Sequence[Trial]) -> str:
    usual, *others = trials
    quicker = [trial for trial in others if trial.seconds <= WORTH_SAYING * usual.seconds]
    if not quicker:
        return "No setting tried is clearly quicker than the run as it is."
    best = min(quicker, key=lambda trial: trial.seconds)
    return f"Quickest: {_flags(best.change)}, {usual.seconds / best.seconds:.1f} times as quick as the run as it is."


def _flags(change: Mapping[str, Any]) -> str:
    names = {name.replace("_", "-"): value for name, value in change.items()}
    return " ".join(f"--{name}" if value is True else f"--{name} {value}" for name, value in names.items())


def _time(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "failed"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _plain(found: Profile, trials: Sequence[Trial]) -> dict[str, Any]:
    return {
        "tasks": found.tasks,
        "plan": found.plan,
        "parts": {part.name: part.seconds for part in found.parts},
        "trials": [
            {
                "change": trial.change,
                "seconds": trial.seconds if math.isfinite(trial.seconds) else None,
                "memory": trial.memory,
                "note": trial.note,
            }
            for trial in trials
        ],
    }
