"""Settings as flags: `--method.steps 5` is the setting `steps` of the chosen method.

Flags are made from the same dataclasses that check settings from Python and YAML; a flag's text is only split into
words here, and judged there.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union

from cyclopts import Group, Parameter
from pydantic_core import PydanticUndefined

from quickstudy import registry
from quickstudy.core.settings import Setting, dump
from quickstudy.errors import SettingsError

__all__ = [
    "Flag",
    "chosen_name",
    "complete",
    "flag_of",
    "flags_of",
    "nest",
    "overlay",
    "parameter",
    "shown",
    "shown_type",
    "words",
]


@dataclasses.dataclass(frozen=True)
class Flag:
    """One setting on the command line."""

    path: tuple[str, ...]
    """Where the setting stands among nested settings: ("method", "rule", "rate")."""
    type: Any
    """Its annotation."""
    default: Any
    help: str
    choice: bool = False
    """Whether it is chosen by name and may have settings of its own."""

    @property
    def name(self) -> str:
        """As it is typed: --method.rule.rate."""
        return "--" + ".".join(self.path).replace("_", "-")

    @property
    def key(self) -> str:
        """Its name as a Python argument."""
        return "__".join(self.path)

    @property
    def explained(self) -> str:
        """Its help, with the choices there are."""
        return f"{self.help} {_choices(self.type)}".strip()

    @property
    def switch(self) -> bool:
        """Whether it is given without a value, as --x or --no-x."""
        return _plain(self.type) is bool


def flags_of(cls: type, section: tuple[str, ...], given: Mapping[str, Any], defaults: Any = None) -> list[Flag]:
    """A flag for each setting of a registered class, and for those of the choices within it.

    Args:
        cls: The class whose settings these are.
        section: The path of its flags, such as ("method",).
        given: What is already known of its settings , from the command line or a file: a step rule chosen there brings
            its own flags.
        defaults: A settings object whose values are shown as defaults, in place of the class's own.
    """
    found = []
    for setting in Setting.all_of(cls):
        default = getattr(defaults, setting.name, setting.default)
        path = (*section, setting.name)
        kind = kind_of(default)
        if kind is None:
            found.append(Flag(path, setting.type, default, setting.help))
            continue
        own = registry.name_of(type(default))
        chosen = chosen_name(given.get(setting.name)) or own
        names = Literal[tuple(registry.TABLES[kind])]  # type: ignore[valid-type]
        found.append(Flag(path, names, own, setting.help, choice=True))
        inner = given.get(setting.name)
        deeper = inner if isinstance(inner, Mapping) else {}
        found += flags_of(registry.get(kind, chosen), path, deeper, default if chosen == own else None)
    return found


def flag_of(setting: Setting) -> Flag:
    """The flag of a setting that stands in no section, such as --steps."""
    return Flag((setting.name,), setting.type, setting.default, setting.help)


def kind_of(value: Any) -> str | None:
    """The table ("rule", ...) in which a settings object's class is registered, or None for a plain value."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return None
    name = registry.name_of(type(value))
    return next((kind for kind, table in registry.TABLES.items() if name in table), None)


def chosen_name(value: Any) -> str | None:
    """The name in "adam" or {"name": "adam", ...}; None where there is none."""
    name = value.get("name") if isinstance(value, Mapping) else value
    return name if isinstance(name, str) else None


def parameter(flag: Flag, group: Group) -> inspect.Parameter:
    """The flag as an argument that cyclopts can put in a signature; its value stays text."""
    switch = flag.switch
    *section, last = flag.name.removeprefix("--").split(".")
    said = Parameter(
        name=flag.name,
        negative="--" + ".".join([*section, f"no-{last}"]) if switch else "",
        group=group,
        help=f"{flag.explained} [default: {shown(flag.default)}]".strip().replace("[default: ]", "[required]"),
        show_default=False,
        metavar=None if switch else shown_type(flag.type),
    )
    annotation = Annotated[bool | None if switch else str | None, said]  # type: ignore[valid-type]
    return inspect.Parameter(flag.key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def nest(flags: Iterable[Flag], values: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, as nested settings: {"method": {"rule": {"name": "adam", "rate": "0.1"}}}.

    A choice given by name alone is {"name": ...}, so that its own settings can join it.
    """
    nested: dict[str, Any] = {}
    for flag in flags:
        value = values.get(flag.key)
        if value is None:
            continue
        *above, last = flag.path
        place = nested
        for part in above:
            place = place.setdefault(part, {})
        if flag.choice:
            place.setdefault(last, {})["name"] = value
        else:
            place[last] = value if isinstance(value, bool) else words(value, flag.type)
    return nested


def words(text: str, annotation: Any) -> Any:
    """What was typed, as the settings classes take it: lists split at commas, `null` as None, the rest as it is."""
    arms = list(_arms(annotation))
    if type(None) in arms and text.lower() in ("null", "none") and not any(text in typing.get_args(a) for a in arms):
        return None
    sequences = [arm for arm in arms if typing.get_origin(arm) in (tuple, list)]
    if sequences and ("," in text or len(sequences) == len([arm for arm in arms if arm is not type(None)])):
        return [part.strip() for part in text.strip("[]()").split(",") if part.strip()]
    for arm in arms:  # a choice among numbers is compared as numbers
        for option in typing.get_args(arm) if typing.get_origin(arm) is Literal else ():
            if str(option) == text:
                return option
    return text


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings, with those `above` in place of those `below`.

    A choice with another name starts afresh: the settings below it were another's.
    """
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, str):
            old = {"name": old}
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            renamed = "name" in value and old.get("name", value["name"]) != value["name"]
            merged[key] = dict(value) if renamed else overlay(old, value)
        else:
            merged[key] = value
    return merged


def complete(given: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """Settings in which a choice that was only adjusted is named: {"rate": 1} joins the default rule's own values.

    Raises:
        SettingsError: a setting that is a choice got something that is neither a name nor settings.
    """
    completed = dict(given)
    for setting in Setting.all_of(cls):
        kind, value = kind_of(setting.default), given.get(setting.name)
        if kind is None or value is None or isinstance(value, str):
            continue
        if not isinstance(value, Mapping):
            raise SettingsError(f"{setting.name} is a {kind}, chosen by name, got {value!r}.")
        own = dump(setting.default)
        name = value.get("name", own["name"])
        below = own if name == own["name"] else {"name": name}
        completed[setting.name] = complete(overlay(below, value), registry.get(kind, name))
    return completed


def shown(value: Any) -> str:
    """A setting's value as it would be typed."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return registry.name_of(type(value))
    if value is PydanticUndefined or value is dataclasses.MISSING:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(shown(each) for each in value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown_type(annotation: Any) -> str:
    """What a flag takes, in a word: INT for a whole number, INT,INT for two."""
    arms = [arm for arm in _arms(annotation) if arm is not type(None)]
    texts = [_arm_shown(arm) for arm in arms]
    return "|".join(dict.fromkeys(texts))


def _arm_shown(arm: Any) -> str:
    origin = typing.get_origin(arm)
    if origin is Literal:
        return "NAME"
    if origin in (tuple, list):
        parts = [shown_type(part) for part in typing.get_args(arm) if part is not Ellipsis]
        return ",".join(parts) if len(parts) > 1 else f"{parts[0]},..."
    return {int: "INT", float: "FLOAT", str: "TEXT", bool: "yes|no"}.get(arm, "VALUE")


def _choices(annotation: Any) -> str:
    options = [o for arm in _arms(annotation) if typing.get_origin(arm) is Literal for o in typing.get_args(arm)]
    return f"[choices: {', '.join(str(option) for option in options)}]" if options else ""


def _plain(annotation: Any) -> Any:
    """A type without what `Annotated` adds to it."""
    return _plain(typing.get_args(annotation)[0]) if typing.get_origin(annotation) is Annotated else annotation


def _arms(annotation: Any) -> Sequence[Any]:
    """The alternatives of a union, each without its annotations."""
    bare = _plain(annotation)
    if typing.get_origin(bare) in (Union, types.UnionType):
        return [arm for part in typing.get_args(bare) for arm in _arms(part)]
    return [bare]
