"""What stands in a bundle.yaml, and the refusal of anything that this quickstudy does not understand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field
from torch import nn

from quickstudy import registry
from quickstudy.bundle.calibration import Calibration
from quickstudy.core.learner import MetaLearner
from quickstudy.core.predictions import Likelihood
from quickstudy.core.settings import Choice, Rate, Size, settings
from quickstudy.encoders import Encoder
from quickstudy.errors import BundleError, QuickstudyError
from quickstudy.evaluate.novelty import Detector

__all__ = ["FORMAT", "LARGEST", "Calibrated", "Manifest", "addresses", "parse", "render", "seal_of", "version_of"]

FORMAT = 1
LARGEST = 4 * 2**20
"""Bytes of a bundle.yaml; one that says more is no manifest."""

_BASES: dict[str, type] = {"method": MetaLearner, "net": nn.Module, "encoder": Encoder}

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@settings
class Calibrated:
    """What was found for tasks of one size."""

    ways: Size
    """Classes of the tasks that it is for."""
    shots: Size
    """Examples of a class."""
    score: str
    """Which familiarity is asked."""
    threshold: float
    """Below it a query is of no class of the support."""
    auroc: float
    """On validation tasks."""
    temperature: Rate = 1.0
    """At which all is said; bundles from before there was one have none."""

    @staticmethod
    def of(found: Calibration) -> dict[str, Any]:
        """A calibration as plain values."""
        size = {"ways": found.ways, "shots": found.shots}
        return size | dataclasses.asdict(found.detector) | {"temperature": found.temperature}

    @property
    def made(self) -> Calibration:
        """The calibration that these values are of."""
        return Calibration(self.ways, self.shots, Detector(self.score, self.threshold, self.auroc), self.temperature)


@settings
class Manifest:
    """The entries of a bundle.yaml; all are needed, and there are no others."""

    format: Literal[1]
    """Of the folder."""
    name: str
    """What the bundle is called."""
    version: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    """Of all that learners depend on."""
    likelihood: Likelihood
    """Whether it tells classes apart or predicts real values."""
    licence: str
    """Of the weights; empty where nobody said."""
    method: Annotated[Any, Choice("method")]
    """The method, by name and settings."""
    net: Annotated[Any, Choice("net")]
    """The net under it."""
    item: tuple[Size, ...]
    """The shape of one input."""
    outputs: Size
    """Ways, or the number of real values."""
    pool_outputs: Size | None
    """Classes of its conventional training, if it keeps a head for them."""
    encoder: Annotated[Any, Choice("encoder")]
    """What makes inputs of raw ones."""
    novelty: tuple[Calibrated, ...]
    """How sure to be, and what is foreign, by sizes of tasks."""
    labels: tuple[str, ...]
    """The classes that it was trained on."""
    provenance: dict[str, Any]
    """Where it comes from."""
    bytes: Size
    """Of the weights' file."""
    sha256: Digest
    """Of the weights' file."""
    seal: Digest
    """SHA-256 of all other entries."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return (
            True  # equal lists are written twice: readers refuse aliases, with which a short file can mean a huge one
        )


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # Escaped, for YAML folds line breaks, of which it knows more than one would think.
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')


_Dumper.add_representer(str, _text)


def render(entries: dict[str, Any]) -> str:
    """Entries, sealed, as the text of a bundle.yaml."""
    sealed = {**entries, "seal": seal_of(entries)}
    return yaml.dump(sealed, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def seal_of(entries: dict[str, Any]) -> str:
    """SHA-256 of all entries but the seal itself."""
    plain = {name: value for name, value in entries.items() if name != "seal"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def version_of(entries: dict[str, Any]) -> str:
    """12 hex digits of a hash of the entries that learners depend on."""
    names = ("likelihood", "method", "net", "item", "outputs", "pool_outputs", "encoder", "sha256")
    return seal_of({name: entries.get(name) for name in names})[:12]


def parse(path: Path) -> Manifest:
    """What a bundle.yaml says.

    Raises:
        BundleError: it cannot be read, was changed since it was written, or says something unknown.
    """
    entries = _entries(path)
    if entries.get("format") != FORMAT:
        raise BundleError(
            f"{path} has format {entries.get('format')!r}; this quickstudy reads format {FORMAT}. Update quickstudy, "
            "or make the bundle again."
        )
    try:
        if entries.get("seal") != seal_of(entries) or entries.get("version") != version_of(entries):
            raise BundleError(
                f"{path} was changed after it was written: its entries do not match their seal. Make the bundle again, "
                "or get it anew from where it came from."
            )
        for kind, base in _BASES.items():
            _check_class(path, kind, entries.get(kind), base)
        return Manifest(**entries)
    except (QuickstudyError, TypeError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{path} says something that this quickstudy does not understand: {error} Update quickstudy, or make the "
            "bundle again."
        ) from error


def addresses(path: Path) -> list[str]:
    """The addresses of classes (package.module:Class) that a bundle.yaml names, read without importing any.

    Raises:
        BundleError: it cannot be read.
    """
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            name = value.get("name")
            found.extend([name] if isinstance(name, str) and ":" in name else [])
            value = list(value.values())
        for each in value if isinstance(value, list) else ():
            walk(each)

    entries = _entries(path)
    for kind in _BASES:
        chosen = entries.get(kind)
        walk({"name": chosen} if isinstance(chosen, str) else chosen)
    return found


def _entries(path: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if not path.is_file():
            raise BundleError(
                f"{path.parent} holds no bundle: there is no file {path}. Make one with `quickstudy bundle RUN OUT`."
            )
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"{size} bytes, where {LARGEST} are the most")
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=loader)):
            raise ValueError("it holds YAML aliases, which no bundle has")
        entries = yaml.load(text, Loader=loader)
        if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
            raise ValueError("it is no list of named entries")
        return entries
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise BundleError(f"{path} cannot be read: {error}. Make the bundle again, or get it anew.") from error


def _check_class(path: Path, kind: str, chosen: Any, base: type) -> None:
    """Refuse what is no method, net or encoder before anything is made of it."""
    name = chosen.get("name") if isinstance(chosen, dict) else chosen
    if not isinstance(name, str):
        raise BundleError(f"{path}: its {kind} has no name, got {chosen!r}. Make the bundle again.")
    if not issubclass(registry.get(kind, name), base):
        raise BundleError(f"{path}: its {kind} {name!r} is no {base.__name__}. Do not use it if you do not know why.")
