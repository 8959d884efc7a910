"""What quickstudy knows by name: tables of strings, so that nothing is imported before it is asked for.

Adding a method, task family, net or step rule is one file and one line here; the command line, the documentation,
the contract tests and the leaderboards read these tables. A name may also be the address of a user's own class,
`package.module:Class`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable

from quickstudy.errors import SettingsError

__all__ = ["FLOORS", "METHODS", "NETS", "RULES", "TASKS", "closest", "get", "name_of", "summary"]

METHODS = {
    "maml": "quickstudy.methods.gradient.maml:MAML",
    "protonet": "quickstudy.methods.metric.protonet:ProtoNet",
    "matching": "quickstudy.methods.metric.matching:MatchingNet",
    "r2d2": "quickstudy.methods.metric.r2d2:R2D2",
    "finetune": "quickstudy.methods.gradient.finetune:FineTune",
}

TASKS = {
    "glyphs": "quickstudy.tasks.glyphs:Glyphs",
    "omniglot": "quickstudy.tasks.omniglot:Omniglot",
    "cifar_fs": "quickstudy.tasks.cifar_fs:CifarFS",
    "folder": "quickstudy.tasks.folder:Folder",
    "sines": "quickstudy.tasks.sines:Sines",
}

NETS = {
    "conv4": "quickstudy.nets.conv:Conv4",
    "resnet12": "quickstudy.nets.resnet:ResNet12",
    "mlp": "quickstudy.nets.mlp:MLP",
    "flatten": "quickstudy.nets.mlp:Flatten",
}

RULES = {
    "sgd": "quickstudy.inner.rules:SGD",
    "momentum": "quickstudy.inner.rules:Momentum",
    "adam": "quickstudy.inner.rules:Adam",
    "learned-rates": "quickstudy.inner.rules:LearnedRates",
}

# What every result must beat: how each floor is made of a registered method. `net` replaces the run's own
# net; `trained` says whether its net is first trained the conventional way, on all training classes at once.
FLOORS: dict[str, dict[str, object]] = {
    "no adaptation": {"method": "finetune", "settings": {"steps": 0}, "trained": True},
    "raw-input centroid": {"method": "protonet", "settings": {}, "net": "flatten", "trained": False},
    "random-feature centroid": {"method": "protonet", "settings": {}, "trained": False},
    "linear probe": {"method": "finetune", "settings": {"adapts": "head", "steps": 100}, "trained": True},
    "fine-tuning": {
        "method": "finetune",
        "settings": {"adapts": "all", "steps": 25, "rule": {"name": "adam", "rate": 0.003}},
        "trained": True,
    },
}

TABLES = {"method": METHODS, "tasks": TASKS, "net": NETS, "rule": RULES}


def get(kind: str, name: str) -> type:
    """The class called `name` in the table of `kind` ("method", "tasks", "net" or "rule").

    Raises:
        SettingsError: no such name (with the nearest one), or an address that cannot be imported.
    """
    table = TABLES[kind]
    if ":" not in name and name not in table:
        raise SettingsError(f"no {kind} named {name!r}{closest(name, table) or '.'} Known: {', '.join(table)}.")
    module, _, attribute = table.get(name, name).partition(":")
    try:
        found: type = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"{kind} {name!r} cannot be imported: {error}. An address reads package.module:Class, "
            "importable from where you run."
        ) from error
    if not isinstance(found, type):
        raise SettingsError(f"{kind} {name!r} is {found!r}; expected a class. An address reads package.module:Class.")
    return found


def name_of(cls: type) -> str:
    """The registered name of a class, or its address `package.module:Class`."""
    address = f"{cls.__module__}:{cls.__qualname__}"
    for table in TABLES.values():
        for name, target in table.items():
            if target == address:
                return name
    return address


def summary(kind: str, name: str) -> str:
    """The first line of the documentation of a registered class."""
    return (get(kind, name).__doc__ or "").strip().partition("\n")[0]


def closest(word: str, words: Iterable[str]) -> str:
    """`"; did you mean 'maml'?"` for a near miss, or nothing."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
