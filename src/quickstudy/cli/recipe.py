"""A run as it is asked for: the command line over a YAML file over the defaults, checked by the settings classes.

A recipe file holds the same names as the flags:

    method: {name: maml, steps: 5, rule: {name: sgd, rate: 0.05}}
    tasks: {name: omniglot, ways: 5, shots: 1}
    net: {name: conv4}
    train: {queries: 5}
    steps: 2000
    rate: 0.001
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field

from quickstudy import registry
from quickstudy.cli.flags import Flag, chosen_name, complete, flag_of, flags_of, overlay
from quickstudy.core.settings import Count, Setting, Size, load, settings, settings_of
from quickstudy.errors import SettingsError

if TYPE_CHECKING:
    from quickstudy.train.run import RunSettings

__all__ = [
    "OWN",
    "SECTIONS",
    "Asked",
    "Watch",
    "checked",
    "plain_flags",
    "read_yaml",
    "scan",
    "section_flags",
]

SECTIONS = ("method", "tasks", "net")
DEFAULTS = {"method": "protonet", "tasks": "glyphs"}
SHAPE = ("ways", "shots", "queries", "same_shape")
"""What training episodes may have otherwise than the tasks a run is evaluated on."""

OWN = "session.yaml"
"""What is kept beside a run so that it resumes as it was started: its threads, and what is looked after."""

VALUELESS = ("--resume", "--quiet", "--compiled", "--help", "-h", "--version", "--json")


@settings
class Watch:
    """What is looked after while training runs."""

    validate_every: Count = 100
    """Steps between validations; 0 never validates."""
    validation_episodes: Annotated[int, Field(ge=2)] = 200
    """Validation episodes of each validation, always the same ones."""
    validation_shots: Size | None = None
    """Support examples of a class (or a function) in validation; by default those of the tasks."""
    validation_steps: Size | None = None
    """Inner steps in validation; by default the method's own."""
    patience: Count = 0
    """Stop after this many validations in a row without a better one; 0 never stops early."""
    save_every: Size = 100
    """Steps between checkpoints. One is also written each minute, when training ends and on Ctrl-C."""


def scan(argv: Sequence[str]) -> tuple[dict[str, Any], Path | None]:
    """What a command line chooses by name, before it is parsed: nested text, and the file after --config.

    The flags of a run are known only once its method, tasks and net are.
    """
    tree: dict[str, Any] = {}
    config: Path | None = None
    for place, word in enumerate(argv):
        name, sign, value = word.partition("=")
        if not word.startswith("--"):
            if _is_method(argv, place):
                tree = overlay(tree, {"method": {"name": word}})
            continue
        following = argv[place + 1] if place + 1 < len(argv) else "--"
        value = value if sign else following
        if value.startswith("--"):
            continue
        path = name.removeprefix("--").replace("-", "_").split(".")
        if path == ["config"]:
            config = Path(value)
        elif path[0] in SECTIONS:
            tree = overlay(tree, _branch(path, value))
    return tree, config


def _is_method(argv: Sequence[str], place: int) -> bool:
    """Whether the word at `place` is METHOD: the first one, or one that no flag can claim as its value."""
    if argv[place].startswith("-"):
        return False
    if place == 0:
        return True
    before = argv[place - 1]
    return not before.startswith("-") or "=" in before or before in VALUELESS


def _branch(path: Sequence[str], value: str) -> dict[str, Any]:
    """{"a": {"b": {"name": value}}}: whether the last part is a choice is not known yet, and a name does no harm."""
    tree: dict[str, Any] = {"name": value}
    for part in reversed(path):
        tree = {part: tree}
    return tree


def read_yaml(path: Path) -> dict[str, Any]:
    """A recipe file as nested settings; names alone become {"name": ...}.

    Raises:
        SettingsError: the file is missing, is not YAML or holds something else than names and values.
    """
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"no file {str(path)!r} for --config. Check the path; expected a YAML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}. --config takes a YAML text file.") from None
    except yaml.YAMLError as error:
        at = " ".join(str(error).split())
        raise SettingsError(f"{path} is not valid YAML: {at}. Write one `name: value` a line.") from None
    held = {} if held is None else held
    if not isinstance(held, Mapping):
        raise SettingsError(f"{path} holds {str(held)[:40]!r}; expected `name: value` lines, e.g. `steps: 500`.")
    known = [*SECTIONS, "train", *(flag.path[0] for flag in plain_flags())]
    for key in held:
        if key not in known:
            near = registry.closest(str(key), known) or "."
            raise SettingsError(f"{path}: nothing is called {key!r}{near} It may hold {', '.join(known)}.")
    return {key: _section(path, key, value) for key, value in held.items()}


def _section(path: Path, key: str, value: Any) -> Any:
    if key not in (*SECTIONS, "train"):
        return value
    if key != "train" and isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping):
        raise SettingsError(f"{path}: {key} is {value!r}; expected settings, e.g. `{key}: {{{_example(key)}}}`.")
    return dict(value)


def _example(section: str) -> str:
    return {"method": "name: maml, steps: 5", "tasks": "name: glyphs, ways: 5", "net": "name: conv4, width: 64"}.get(
        section, "ways: 20"
    )


def plain_flags() -> list[Flag]:
    """The flags that stand in no section: the options of training, and what is looked after meanwhile."""
    from quickstudy.train.settings import Training

    return [flag_of(setting) for cls in (Training, Watch) for setting in Setting.all_of(cls)]


def section_flags(given: Mapping[str, Any]) -> dict[str, list[Flag]]:
    """The dotted flags of the chosen method, tasks and net, and of training episodes, by section."""
    usual = {"method": load("method", _stands_for(given))}
    given = _suited(given)
    classes = chosen(given)
    flags = {kind: flags_of(cls, (kind,), given.get(kind, {}), usual.get(kind)) for kind, cls in classes.items()}
    flags["train"] = [
        Flag(("train", setting.name), setting.type, "as for the tasks", setting.help)
        for setting in Setting.all_of(classes["tasks"])
        if setting.name in SHAPE
    ]
    return flags


def chosen(given: Mapping[str, Any]) -> dict[str, type]:
    """The classes of the method, tasks and net that are asked for, or their defaults."""
    classes = {kind: registry.get(kind, chosen_name(given.get(kind)) or DEFAULTS[kind]) for kind in ("method", "tasks")}
    _refuse_others("method", classes["method"])
    classes["net"] = registry.get("net", chosen_name(given.get("net")) or usual_net(**classes))
    for kind, cls in classes.items():
        _refuse_others(kind, cls)
    return classes


def _suited(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for, over what the method's name stands for and what suits tasks of real values."""
    below, typed = _stands_for(given), given.get("method")
    above = {**typed, "name": below["name"]} if isinstance(typed, Mapping) else {}
    return {**given, "method": overlay(below, above)}


def _stands_for(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the method before any is chosen: a variant's, and those that suit the tasks."""
    name = chosen_name(given.get("method")) or DEFAULTS["method"]
    below = registry.expand("method", {"name": name})
    tasks = registry.get("tasks", chosen_name(given.get("tasks")) or DEFAULTS["tasks"])
    return below if _of_classes(tasks) else overlay(below, registry.suited_to_values(name))


def _refuse_others(kind: str, cls: type) -> None:
    """Refuse a class of the user's that is not of the kind it is used as."""
    from torch import nn

    from quickstudy.core.learner import MetaLearner
    from quickstudy.tasks.source import Tasks

    base: type = {"method": MetaLearner, "tasks": Tasks, "net": nn.Module}[kind]
    if not issubclass(cls, base):
        raise SettingsError(
            f"{kind} {registry.name_of(cls)!r} cannot be used as one: expected a subclass of {base.__name__}."
        )


def usual_net(method: Any, tasks: type) -> str:
    """The net for classes of images, or for points of functions; what is really there is looked at before training."""
    from quickstudy.train import run

    return run.usual_net(method, images=_of_classes(tasks))


def _of_classes(tasks: type) -> bool:
    return any(field.name == "ways" for field in dataclasses.fields(settings_of(tasks)))


@dataclasses.dataclass(frozen=True)
class Asked:
    """A run as it is asked for, every part checked."""

    run: RunSettings
    watch: Watch


def checked(given: Mapping[str, Any]) -> Asked:
    """The settings objects that nested plain values stand for. A net that is not chosen is None.

    Raises:
        SettingsError: a name, a setting or a value that is not known or not allowed.
    """
    from quickstudy.train.run import RunSettings
    from quickstudy.train.settings import Training

    parts: dict[str, Any] = {"net": None}
    given = _suited(given)
    for kind, cls in chosen(given).items():
        if kind != "net" or given.get("net"):
            section = {"name": registry.name_of(cls), **given.get(kind, {})}
            parts[kind] = load(kind, complete(section, cls))
    shape = dict(given.get("train", {}))
    for name in shape:
        if name not in SHAPE:
            raise SettingsError(
                f"train has no setting {name!r}{registry.closest(name, SHAPE)} (it has {', '.join(SHAPE)}). Everything "
                "else about training episodes is set under tasks."
            )
    reshaped = dataclasses.replace(parts["tasks"], **shape)  # where a wrong value is refused
    training = Training(**{f.name: given[f.name] for f in dataclasses.fields(Training) if f.name in given})
    watch = Watch(**{f.name: given[f.name] for f in dataclasses.fields(Watch) if f.name in given})
    run = RunSettings(**parts, train={name: getattr(reshaped, name) for name in shape}, training=training)
    return Asked(run, watch)
