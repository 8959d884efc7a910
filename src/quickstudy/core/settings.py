"""Settings: one frozen pydantic dataclass per choice, with the same checks from Python, YAML and the command line.

There are two ways to own settings, and both end in the same dataclass:

- a plain choice (a task family, a step rule, the options of a training run) *is* one: decorate it with `settings`;
- a module (a method, a net) derives one from the keyword-only arguments of its `__init__`: inherit `Configurable`.
  Positional arguments (`net`, `outputs`, `item`) are structure, given by whoever builds the module.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from quickstudy import registry
from quickstudy.errors import SettingsError

__all__ = [
    "Choice",
    "Configurable",
    "Count",
    "Fraction",
    "Rate",
    "Setting",
    "Size",
    "dump",
    "load",
    "make",
    "owner_of",
    "settings",
    "settings_of",
]

Size = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]

_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=True, arbitrary_types_allowed=True)

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen, checked dataclass whose attribute docstrings are the help of its fields.

    >>> from quickstudy.core.settings import settings, Size
    >>> @settings
    ... class Walk:
    ...     steps: Size = 3
    >>> Walk(stpes=4)
    Traceback (most recent call last):
    quickstudy.errors.SettingsError: Walk has no setting 'stpes'; did you mean 'steps'? (it has steps).
    """
    made = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=_CONFIG)(cls)
    plain = made.__init__

    @functools.wraps(plain)
    def checked(self: Any, *args: Any, **values: Any) -> None:
        if args:
            raise SettingsError(f"{cls.__name__} takes its settings by name, got {len(args)} without one.")
        _refuse_unknown(cls.__name__, values, [field.name for field in dataclasses.fields(self)])
        try:
            plain(self, **values)
        except pydantic.ValidationError as error:
            raise SettingsError(_explain(cls.__name__, error)) from None

    made.__init__ = checked  # type: ignore[method-assign]
    return typing.cast(type[T], made)


class _SettingsOf:
    """The attribute `Settings` of a configurable class, derived when first asked for."""

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return settings_of(owner)


class Configurable:
    """A class whose keyword-only `__init__` arguments are its settings, checked whenever one is made.

    `type(self).Settings` is the dataclass derived from the signature (its help is read from the `Args:` of the class
    or `__init__` docstring); `self.settings` is the instance that this object was made with.
    """

    Settings = _SettingsOf()
    settings: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            return
        plain = cls.__dict__["__init__"]
        signature = inspect.signature(plain)
        names = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]

        @functools.wraps(plain)
        def checked(self: Any, *args: Any, **values: Any) -> None:
            if type(self).__init__ is not checked:  # called by a subclass's own, whose settings these are not
                plain(self, *args, **values)
                return
            structure = {k: v for k, v in values.items() if k in signature.parameters and k not in names}
            chosen = settings_of(type(self))(**{k: v for k, v in values.items() if k not in structure})
            plain(self, *args, **structure, **{name: getattr(chosen, name) for name in names})
            self.settings = chosen

        cls.__init__ = checked  # type: ignore[method-assign]


def settings_of(cls: type[Any]) -> Any:
    """The settings dataclass of a registered class: itself, or what its keyword-only arguments make."""
    if dataclasses.is_dataclass(cls):
        return cls
    if cls not in _DERIVED:
        _DERIVED[cls] = _derive(cls)
    return _DERIVED[cls]


_DERIVED: dict[type[Any], Any] = {}


def _derive(cls: type[Any]) -> Any:
    init: Callable[..., None] = inspect.unwrap(cls.__init__)
    hints = typing.get_type_hints(init, include_extras=True)
    help_of = _documented_arguments(f"{cls.__doc__ or ''}\n{init.__doc__ or ''}")
    fields = []
    for p in inspect.signature(init).parameters.values():
        if p.kind is p.KEYWORD_ONLY:
            note = Field(description=help_of.get(p.name, ""))
            default = dataclasses.MISSING if p.default is p.empty else p.default
            fields.append((p.name, Annotated[hints[p.name], note], dataclasses.field(default=default)))
    made = dataclasses.make_dataclass(cls.__name__, fields, frozen=True, kw_only=True)
    made.__doc__, made.__module__ = cls.__doc__, cls.__module__
    checked: Any = settings(made)
    checked.__owner__ = cls
    return checked


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting, as help pages show it."""

    name: str
    type: Any
    default: Any
    help: str

    @staticmethod
    def all_of(owner: type[Any]) -> list[Setting]:
        """The settings of a registered class, in the order written."""
        chosen = settings_of(owner)
        infos: dict[str, FieldInfo] = chosen.__pydantic_fields__
        hints = typing.get_type_hints(chosen, include_extras=True)
        return [
            Setting(name, hints.get(name, info.annotation), info.get_default(), " ".join(_help(chosen, name).split()))
            for name, info in infos.items()
        ]


def Choice(kind: str) -> Any:  # noqa: N802 (it stands among types)
    """For `Annotated`: a setting that is itself chosen by name, such as a step rule.

    Takes an instance, a name ("adam"), or a mapping of a name and settings ({"name": "adam", "rate": 0.01}).
    """

    def read(value: Any) -> Any:
        return value if value is None or dataclasses.is_dataclass(value) else load(kind, value)

    return BeforeValidator(read)


def load(kind: str, value: str | Mapping[str, Any]) -> Any:
    """The settings object that a name, or a mapping with a `name`, stands for (as read from YAML)."""
    given = {"name": value} if isinstance(value, str) else dict(value)
    if not isinstance(given.get("name"), str):
        raise SettingsError(f"a {kind} is chosen by its name, got {value!r}. Write e.g. {{name: ..., setting: value}}.")
    given = registry.expand(kind, given)
    return settings_of(registry.get(kind, given.pop("name")))(**given)


def dump(chosen: Any) -> Any:
    """Settings as plain values (dicts, lists, numbers, text) that YAML and JSON hold; `load` reads them back.

    A choice carries its name (or address), so that it can be found again.
    """
    if dataclasses.is_dataclass(chosen) and not isinstance(chosen, type):
        values = {f.name: dump(getattr(chosen, f.name)) for f in dataclasses.fields(chosen)}
        return {"name": registry.name_of(owner_of(chosen)), **values}
    if isinstance(chosen, Mapping):
        return {str(k): dump(v) for k, v in chosen.items()}
    if isinstance(chosen, (list, tuple)):
        return [dump(v) for v in chosen]
    return chosen if isinstance(chosen, (bool, int, float, str, type(None))) else str(chosen)


def owner_of(chosen: Any) -> type[Any]:
    """The class that a settings object belongs to: a method, a net, or (task families, rules) its own class."""
    owner: type[Any] = getattr(type(chosen), "__owner__", type(chosen))
    return owner


def make(cls: type[Any], chosen: Any, **structure: Any) -> Any:
    """Build a configurable class from its settings and as much of `structure` as its `__init__` asks for.

    >>> from quickstudy.core.settings import make
    >>> from quickstudy.nets import MLP
    >>> make(MLP, MLP.Settings(hidden=[8]), item=(1,), outputs=5).features
    8
    """
    wanted = inspect.signature(inspect.unwrap(cls.__init__)).parameters
    given = {name: value for name, value in structure.items() if name in wanted}
    return cls(**given, **{f.name: getattr(chosen, f.name) for f in dataclasses.fields(chosen)})


def _help(cls: type[Any], name: str) -> str:
    """The help of a field, which pydantic keeps only in the class that declares it."""
    fields = (vars(owner).get("__pydantic_fields__", {}) for owner in cls.__mro__)
    told = (held[name].description for held in fields if name in held)
    return next((text for text in told if text), "")


def _refuse_unknown(owner: str, values: Mapping[str, Any], known: list[str]) -> None:
    for name in values:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise SettingsError(f"{owner} has no setting {name!r}{registry.closest(name, known)} ({has}).")


def _explain(owner: str, error: pydantic.ValidationError) -> str:
    def sentence(problem: Any) -> str:
        # parts that are no names are pydantic's words for the arms of a union
        at = ".".join(str(part) for part in problem["loc"] if str(part).isidentifier() or isinstance(part, int))
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            return f"{owner} needs the setting {at!r}."
        if not at or isinstance(problem.get("ctx", {}).get("error"), SettingsError):
            return str(text)  # already a full sentence
        return f"{owner}.{at}: {text[:1].lower()}{text[1:]}, got {problem['input']!r}."

    # a union reports every arm that did not fit; one line each is still one message
    return "\n".join(dict.fromkeys(sentence(problem) for problem in error.errors()))


def _documented_arguments(docstring: str) -> dict[str, str]:
    """The `name: text` entries under `Args:` in a docstring, continuation lines joined."""
    found: dict[str, str] = {}
    for block in re.findall(r"^ *Args:\n((?:(?: +.*)?\n?)*)", inspect.cleandoc(docstring), re.MULTILINE):
        name = ""
        for line in block.splitlines():
            if entry := re.match(r" {4}(\w+): (.*)", line):
                name = entry[1]
                found[name] = entry[2].strip()
            elif name and line.startswith(" " * 8):
                found[name] += " " + line.strip()
            elif line.strip() and not line.startswith(" "):
                break
    return found
