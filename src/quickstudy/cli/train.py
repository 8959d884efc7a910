"""`quickstudy train`: what is asked for on the command line; `session` carries it out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from cyclopts import Group, Parameter

from quickstudy import registry
from quickstudy.cli import recipe
from quickstudy.cli.flags import Flag, chosen_name, nest, overlay, parameter
from quickstudy.errors import SettingsError

__all__ = ["EXAMPLES", "Command", "command", "fixed", "recorded_threads"]

EXAMPLES = """\
`quickstudy train METHOD --help` also lists the settings of METHOD, of its tasks
(--tasks NAME) and of its net (--net NAME). `quickstudy list` shows the names.

  --method.NAME   a setting of the method, such as --method.steps
  --tasks.NAME    one of the tasks, such as --tasks.ways
  --net.NAME      one of the net, such as --net.width
  --train.NAME    ways, shots or queries of training episodes alone

Examples:
  quickstudy train                                 protonet on glyphs
  quickstudy train maml --method.steps 3 --minutes 10
  quickstudy train maml --method.rule adam --method.rule.rate 0.01
  quickstudy train protonet --tasks omniglot --train.ways 60 --batch 1
  quickstudy train maml --tasks sines --method.rule.rate 0.01
  quickstudy train --config recipe.yaml --rate 0.002
  quickstudy train --resume --out runs/maml-glyphs-1

A recipe file holds the same names:
  method: {name: maml, steps: 3}
  tasks: {name: glyphs, ways: 5, shots: 1}
  net: conv4
  steps: 1000
"""

_DOC = """Meta-train a method: on each step it learns a batch of small tasks and is scored on their queries.

Settings, progress and checkpoints are kept in the run's folder; an interrupted run goes on with --resume.
"""

_RUN = Group("Run", sort_key=1)
_OPTIONS = Group("Training", sort_key=2)
_WATCH = Group("Validation and saving", sort_key=3)
_FIRST_SECTION = 4


def fixed(name: str, annotation: Any, metavar: str, help: str) -> inspect.Parameter:
    """An argument that every run has."""
    switch, first = annotation is bool, name == "method"
    said = Parameter(help=help, negative="", show_default=False, metavar=None if switch else metavar)
    said = said if first else Parameter.combine(said, Parameter(group=_RUN))
    kind = inspect.Parameter.POSITIONAL_ONLY if first else inspect.Parameter.KEYWORD_ONLY
    default = False if switch else None
    return inspect.Parameter(name, kind, default=default, annotation=Annotated[annotation, said])


_CHOICES = [
    fixed("method", str | None, "METHOD", "A name, or package.module:Class. [default: protonet]"),
    fixed("tasks", str | None, "NAME", "The tasks: a name, or package.module:Class. [default: glyphs]"),
    fixed("net", str | None, "NAME", "The net of the method. [default: conv4 for images, mlp for vectors]"),
    fixed("config", Path | None, "FILE", "A recipe: a YAML file with the same names. Flags win over it."),
    fixed("threads", int | None, "INT", "Threads for torch. [default: as many as there are idle processors]"),
]
_OF_A_RUN = [
    fixed("out", Path | None, "FOLDER", "The run's folder. [default: runs/METHOD-TASKS-N]"),
    fixed("resume", bool, "", "Go on with the run in --out."),
    fixed("quiet", bool, "", "Show no progress."),
]


def _train(given: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    from quickstudy.cli import session

    carry_out = session.resume if values.get("resume") else session.start
    return carry_out(given, values.get("out"), quiet=values.get("quiet", False))


class Command(NamedTuple):
    """A command that takes the settings of a run."""

    doc: str
    """Its help."""
    fixed: list[inspect.Parameter]
    """Its arguments besides those settings."""
    carry_out: Callable[[Mapping[str, Any], Mapping[str, Any]], int]
    """What it does with the settings, nested, and its own arguments."""


TRAIN = Command(_DOC, _OF_A_RUN, _train)


def command(argv: Sequence[str], of: Command = TRAIN) -> Callable[..., int]:
    """The function behind `train`, or a command like it, with the flags that `argv` calls for in its signature.

    Where `argv` chooses nothing and asks for help, only the flags that every run has are there: they need no torch.
    """
    if not argv:
        return _function(of, [], {}, {}, {})
    tree, config = recipe.scan(argv)
    held = recipe.read_yaml(config) if config else {}
    given = overlay(held, tree)
    teach = not given and ("--help" in argv or "-h" in argv)
    return _function(of, recipe.plain_flags(), {} if teach else recipe.section_flags(given), given, held)


def _function(
    of: Command,
    plain: list[Flag],
    sections: Mapping[str, list[Flag]],
    given: Mapping[str, Any],
    held: Mapping[str, Any],
) -> Callable[..., int]:
    flags = [*plain, *(flag for group in sections.values() for flag in group)]

    def run(method: str | None = None, /, **values: Any) -> int:
        names = {"method": method, "tasks": values.get("tasks"), "net": values.get("net")}
        typed = overlay({kind: {"name": name} for kind, name in names.items() if name}, nest(flags, values))
        _refuse_misplaced(method, given)
        return of.carry_out(overlay(held, typed), values)

    watched = list(recipe.Watch.__dataclass_fields__)
    dynamic = [parameter(flag, _WATCH if flag.path[0] in watched else _OPTIONS) for flag in plain]
    for order, (section, group) in enumerate(sections.items()):
        panel = Group(_title(section, given), sort_key=_FIRST_SECTION + order)
        dynamic += [parameter(flag, panel) for flag in group]
    arguments = [*_CHOICES, *of.fixed, *dynamic]
    run.__doc__ = of.doc
    run.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    run.__annotations__ = {argument.name: argument.annotation for argument in arguments}
    return run


def _title(section: str, given: Mapping[str, Any]) -> str:
    if section == "train":
        return "Training episodes, where they differ from the tasks'"
    name = registry.name_of(recipe.chosen(given)[section])
    return f"{section.capitalize()} {name}"


def _refuse_misplaced(method: str | None, given: Mapping[str, Any]) -> None:
    """The flags were made for the method that a first look at the command line found; it must be the right one."""
    seen = chosen_name(given.get("method"))
    if method is not None and method != seen:
        raise SettingsError(
            f"the method {method!r} stands where a flag's value may stand. Write it first: {method} ..."
        )


def recorded_threads(argv: Sequence[str]) -> int | None:
    """The threads that the run to be resumed was trained with, if the command line resumes one."""
    if argv[:1] != ["train"] or "--resume" not in argv or "--out" not in argv[:-1]:
        return None
    try:
        held = yaml.safe_load((Path(argv[argv.index("--out") + 1]) / recipe.OWN).read_text(encoding="utf-8"))
        return int(held["threads"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # said properly when the run is opened
        return None
