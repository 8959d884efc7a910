"""What a bundle makes of one task: a tree of tensors with all that is needed to keep it, send it and use it again."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import sys
from typing import Any

import safetensors
import safetensors.torch

from quickstudy.bundle.many import Leaves
from quickstudy.core.packed import note, pack
from quickstudy.core.shapes import Tensor
from quickstudy.errors import BundleError

__all__ = ["Cutoff", "Learner"]

FORMAT = 1
DEEPEST = 64
"""No learner's tree has as many levels; bytes that say so are not a learner's."""


@dataclasses.dataclass(frozen=True)
class Cutoff:
    """Below which familiarity a query is said to be of no class of the support."""

    score: str
    """Which familiarity is asked, a name of `quickstudy.evaluate.novelty.plain_familiarities`."""
    value: float


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """What was learned of one task. It belongs to the bundle whose version it carries, and to no other."""

    state: Any
    """What the method's `adapt` returned: a tree of tensors."""
    ways: int | None
    """How many classes it tells apart; None where it predicts real values."""
    version: str
    """Of the bundle that made it."""
    cutoff: Cutoff | None = None
    """What is foreign to it; None where nobody can say."""
    temperature: float = 1.0
    """At which all that it says is taken."""

    @functools.cached_property
    def leaves(self) -> Leaves:
        """The tensors of its state, by which it is taken together with others."""
        return Leaves.of(self.state)

    @property
    def nbytes(self) -> int:
        """The bytes that its tensors take in memory."""
        return sum(leaf.numel() * leaf.element_size() for leaf in self.leaves.tensors)

    def to_bytes(self) -> bytes:
        """As safetensors, with the tree's form in their header: nothing is pickled.

        Raises:
            BundleError: the state holds something other than tensors.
        """
        tensors: list[Tensor] = []
        notes = {
            "format": FORMAT,
            "version": self.version,
            "ways": self.ways,
            "cutoff": None if self.cutoff is None else [self.cutoff.score, self.cutoff.value],
            "temperature": self.temperature,
            "state": _form(self.state, tensors),
        }
        return pack({str(at): leaf for at, leaf in enumerate(tensors)}, learner=notes)

    @classmethod
    def from_bytes(cls, content: bytes) -> Learner:
        """The learner that `to_bytes` wrote. The bundle that made it must have been opened before, in this process.

        Raises:
            BundleError: these are not a learner's bytes, they are damaged, or of a method that is not loaded here.
        """
        try:
            notes = note(content, "learner")
            if notes["format"] != FORMAT:
                raise ValueError(f"format {notes['format']}, where this quickstudy reads format {FORMAT}")
            if unknown := notes.keys() - {"format", "version", "ways", "cutoff", "temperature", "state"}:
                raise ValueError(f"unknown entries {sorted(unknown)}")
            kept = safetensors.torch.load(content)
            state = _formed(notes["state"], kept)
            if kept:
                raise ValueError("tensors that have no place in its tree")
            cutoff = None if notes["cutoff"] is None else Cutoff(str(notes["cutoff"][0]), float(notes["cutoff"][1]))
            ways = None if notes["ways"] is None else int(notes["ways"])
            temperature = float(notes.get("temperature", 1.0))  # learners from before there was one have none
            if not 0 < temperature < math.inf:
                raise ValueError(f"a temperature of {temperature}")
            return cls(state, ways, str(notes["version"]), cutoff, temperature)
        except (ValueError, KeyError, TypeError, IndexError, RecursionError, safetensors.SafetensorError) as error:
            raise BundleError(
                f"these bytes are not a whole learner: {type(error).__name__}: {error}. Expected what "
                "Learner.to_bytes wrote; make the learner again from its support."
            ) from error


def _form(value: Any, tensors: list[Tensor]) -> Any:
    """The form of a tree as JSON holds it, its leaves numbered as they are appended to `tensors`."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return len(tensors) - 1
    if isinstance(value, dict):
        return {"dict": {name: _form(each, tensors) for name, each in value.items()}}
    if isinstance(value, (tuple, list)):
        kind = "list" if isinstance(value, list) else "tuple"
        if hasattr(value, "_fields"):
            kind = f"{type(value).__module__}:{type(value).__qualname__}"
        return {kind: [_form(each, tensors) for each in value]}
    raise BundleError(
        f"a learner holds {type(value).__name__}; expected a tree of tensors in tuples, lists and dicts. Let the "
        "method's adapt return tensors alone."
    )


def _formed(form: Any, kept: dict[str, Tensor], level: int = 0) -> Any:
    """The tree of a form; the tensors used are taken out of `kept`."""
    if isinstance(form, int):
        return kept.pop(str(form))
    if level > DEEPEST or not isinstance(form, dict) or len(form) != 1:
        raise ValueError("its tree has a form that no learner has")
    ((kind, parts),) = form.items()
    if kind == "dict":
        return {str(name): _formed(each, kept, level + 1) for name, each in parts.items()}
    each_part = [_formed(each, kept, level + 1) for each in parts]
    if kind == "list":
        return each_part
    return tuple(each_part) if kind == "tuple" else _named(kind)(*each_part)


def _named(address: str) -> Any:
    """The NamedTuple at an address. It is never imported: the method that returns such tuples has done so."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", address):
        raise ValueError(f"{address!r} is no address of a NamedTuple")
    module, _, name = address.partition(":")
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")):
        raise ValueError(f"no NamedTuple {address} is loaded; open the bundle that made this learner first")
    return found
