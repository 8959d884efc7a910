"""The examples that a learner was made of, as they are kept: what was sent, not what an encoder made of it.

So a learner can follow to a new version of its model, whose encoder may be another. Where encoding costs much (text)
and its result is small, that is kept too, for as long as the version stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch

from quickstudy.core.packed import note, pack
from quickstudy.core.shapes import Tensor
from quickstudy.errors import StoreDamagedError

__all__ = ["Support"]

FORMAT = 1
ID = 32
"""Hexadecimal digits of an example's id."""


class Support(NamedTuple):
    """Labelled examples: images as files, vectors as arrays, text."""

    kind: str
    contents: list[Any]
    labels: list[int]
    """The place of each one's class among the learner's classes."""
    encoded: Tensor | None = None
    """What the encoder of `version` made of them, [n, *item]; None where it is made anew when needed."""
    version: str = ""

    def to_bytes(self) -> bytes:
        """As safetensors: nothing is pickled."""
        files = [_bytes(self.kind, each) for each in self.contents]
        ends = np.cumsum([len(each) for each in files], dtype=np.int64)
        tensors = {
            "content": torch.from_numpy(np.frombuffer(b"".join(files) or b"\0", dtype=np.uint8).copy()),
            "ends": torch.from_numpy(ends),
            "labels": torch.tensor(self.labels, dtype=torch.int64),
        }
        notes = {"format": FORMAT, "kind": self.kind, "version": self.version}
        if self.kind == "vector":
            notes["shapes"] = [list(np.shape(each)) for each in self.contents]
        if self.encoded is not None:
            tensors["encoded"] = self.encoded
        return pack(tensors, support=notes)

    @classmethod
    def from_bytes(cls, content: bytes) -> Support:
        """The support that `to_bytes` wrote.

        Raises:
            StoreDamagedError: these bytes are none.
        """
        try:
            notes = note(content, "support")
            if notes["format"] != FORMAT:
                raise ValueError(f"format {notes['format']}")
            tensors = safetensors.torch.load(content)
            whole = tensors["content"].numpy().tobytes()
            ends = tensors["ends"].tolist()
            files = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
            shapes = notes.get("shapes") or [None] * len(files)
            contents = [_content(notes["kind"], each, shape) for each, shape in zip(files, shapes, strict=True)]
            return cls(notes["kind"], contents, tensors["labels"].tolist(), tensors.get("encoded"), notes["version"])
        except (ValueError, KeyError, TypeError, IndexError, safetensors.SafetensorError) as error:
            raise StoreDamagedError(
                f"the kept examples of a learner cannot be read: {type(error).__name__}. It still predicts; to change "
                "it, make it again from its examples."
            ) from error

    def of_version(self, version: str) -> Tensor | None:
        """What the encoder of a version made of them, if that is kept."""
        return self.encoded if self.version == version else None

    def joined(self, contents: Sequence[Any], labels: Sequence[int]) -> Support:
        """These examples and more; `encoded` stays that of the first ones."""
        return self._replace(contents=[*self.contents, *contents], labels=[*self.labels, *labels])

    def without(self, label: int) -> Support:
        """These examples but for those of a class; the classes after it move up."""
        rest = self.only([at for at, each in enumerate(self.labels) if each != label])
        return rest._replace(labels=[each - (each > label) for each in rest.labels])

    def only(self, stay: Sequence[int]) -> Support:
        """The examples at these positions."""
        return self._replace(
            contents=[self.contents[at] for at in stay],
            labels=[self.labels[at] for at in stay],
            encoded=None if self.encoded is None else self.encoded[list(stay)],
        )

    def ids(self, classes: Sequence[str]) -> list[str]:
        """What each example can be called by: it says the same of the same content in the same class, whatever else
        the learner is made of."""
        return [
            hashlib.sha256(f"{self.kind} {classes[label]}\0".encode() + _bytes(self.kind, each)).hexdigest()[:ID]
            for each, label in zip(self.contents, self.labels, strict=True)
        ]


def _bytes(kind: str, content: Any) -> bytes:
    if kind == "image":
        return bytes(content)
    if kind == "text":
        return str(content).encode()
    return np.asarray(content, dtype=np.float64).tobytes()


def _content(kind: str, content: bytes, shape: list[int] | None) -> Any:
    if kind == "image":
        return content
    if kind == "text":
        return content.decode()
    return np.frombuffer(content, dtype=np.float64).reshape(shape or [-1])
