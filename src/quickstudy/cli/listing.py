"""`quickstudy list`: what there is, by name, with a line each."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from quickstudy import registry
from quickstudy.cli import screen
from quickstudy.cli.screen import Switch
from quickstudy.errors import SettingsError

__all__ = ["EXAMPLES", "list_"]

EXAMPLES = """\
Examples:
  quickstudy list              everything
  quickstudy list nets         one kind
  quickstudy list maml         the settings of one, with their defaults
"""

KINDS = {"methods": "method", "tasks": "tasks", "nets": "net", "rules": "rule", "encoders": "encoder"}

FAMILIES = {
    "gradient": "Methods that step from a learned start",
    "metric": "Methods that compare, or solve for a head",
    "conditional": "Methods whose learner is a code of the task",
    "memory": "Methods whose learner is a state or a context",
    "bayesian": "Methods whose learner is a distribution",
    "flat": "Methods trained on flat batches: the floors",
}
"""What to call the methods of each folder of `quickstudy.methods`."""


def list_(what: str | None = None, /, *, json: Switch = False) -> int:
    """Show what there is: methods, tasks, nets, step rules and encoders, a line each; or the settings of one of them.

    Args:
        what: "methods", "tasks", "nets", "rules" or "encoders"; a name, such as maml; or the address of a class of
            yours, package.module:Class.
        json: Print JSON.
    """
    if what is None or what in KINDS:
        _overview([what] if what else list(KINDS), json)
    else:
        _one(what, json)
    return 0


def _overview(plurals: list[str], as_json: bool) -> None:
    found = {plural: [_entry(KINDS[plural], name) for name in _names(KINDS[plural])] for plural in plurals}
    if as_json:
        screen.json_out(found)
        return
    for plural, entries in found.items():
        families = {plural.capitalize(): entries}
        if plural == "methods":
            families = {title: [e for e in entries if e["family"] == name] for name, title in FAMILIES.items()}
        for title, members in families.items():
            screen.table(["", ""], [[e["name"], e["summary"]] for e in members], title=title, headed=False)
            screen.say("")
    if len(plurals) > 1:
        screen.say("`quickstudy list NAME` shows the settings of one of these.")


def _entry(kind: str, name: str) -> dict[str, str]:
    entry = {"name": name, "summary": registry.summary(kind, name)}
    if kind == "method":
        entry["family"] = registry.get(kind, name).__module__.split(".")[2]
    return entry


def _names(kind: str) -> list[str]:
    """The names of a table; each method before its variants."""
    variants = registry.VARIANTS if kind == "method" else {}
    names = []
    for name in registry.TABLES[kind]:
        names += [name, *(variant for variant, entry in variants.items() if entry["name"] == name)]
    return names


def _one(name: str, as_json: bool) -> None:
    from quickstudy.cli.flags import flags_of, shown, shown_type
    from quickstudy.core.settings import dump, load

    kind, cls = _find(name)
    summary, _, rest = (inspect.cleandoc(cls.__doc__ or "")).partition("\n")
    summary = registry.summary("method", name) if name in registry.VARIANTS else summary
    flags = flags_of(cls, (), {}, load(kind, name) if name in registry.VARIANTS else None)
    if as_json:
        listed = [
            {"name": ".".join(f.path), "takes": shown_type(f.type), "default": dump(f.default), "help": f.help}
            for f in flags
        ]
        screen.json_out({"kind": kind, "name": name, "summary": summary, "settings": listed})
        return
    about = rest.split("\nArgs:")[0].strip()
    screen.say(summary, style="bold")
    screen.say(f"\n{about}\n" if about else "")
    rows = [[".".join(f.path), shown_type(f.type), shown(f.default), f.explained] for f in flags]
    if rows:
        screen.table(["Setting", "Takes", "Default", "Meaning"], rows)
    else:
        screen.say("It has no settings.")
    screen.say(f"\n{_use(kind, name)}")


def _find(name: str) -> tuple[str, type[Any]]:
    if ":" in name:
        return "class", registry.get("method", name)
    for kind, table in registry.TABLES.items():
        if name in table:
            return kind, registry.get(kind, name)
    if name in registry.VARIANTS:
        return "method", registry.get("method", name)
    known = [*KINDS, *(known for kind in registry.TABLES for known in _names(kind))]
    near = difflib.get_close_matches(name, known, n=1)
    mend = f"; did you mean {near[0]!r}?" if near else "."
    raise SettingsError(f"nothing is named {name!r}{mend} `quickstudy list` shows every name there is.")


def _use(kind: str, name: str) -> str:
    """How the thing is put to use, in a line."""
    return {
        "method": f"Use it: quickstudy train {name}",
        "tasks": f"Use it: quickstudy train protonet --tasks {name}",
        "net": f"Use it: quickstudy train protonet --net {name}",
        "rule": f"Use it: quickstudy train maml --method.rule {name}",
        "encoder": f"Use it: quickstudy bundle RUN OUT --encoder {name}",
        "class": f"Check it: quickstudy check {name}",
    }[kind]
