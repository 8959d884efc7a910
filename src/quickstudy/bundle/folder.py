"""A bundle's folder: bundle.yaml, weights.safetensors and a README.md for people, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch

from quickstudy.bundle.calibration import Calibration
from quickstudy.bundle.card import card
from quickstudy.bundle.manifest import FORMAT, Calibrated, Manifest, parse, render
from quickstudy.core import files
from quickstudy.core.learner import MetaLearner, tags_of
from quickstudy.core.packed import pack
from quickstudy.core.predictions import Likelihood
from quickstudy.core.settings import dump
from quickstudy.encoders import Encoder
from quickstudy.errors import BundleError, CheckpointError, QuickstudyError
from quickstudy.train.parts import Parts

__all__ = ["CARD", "MANIFEST", "WEIGHTS", "Contents", "in_place", "read", "weights_bytes", "write"]

MANIFEST, WEIGHTS, CARD = "bundle.yaml", "weights.safetensors", "README.md"


class Contents(NamedTuple):
    """All that a bundle is made of, but for the weights."""

    name: str
    version: str
    likelihood: Likelihood
    licence: str
    parts: Parts
    encoder: Encoder
    calibrations: tuple[Calibration, ...]
    labels: tuple[str, ...]
    provenance: dict[str, Any]


def weights_bytes(method: MetaLearner) -> bytes:
    """A method's weights as safetensors: the same bytes for the same weights."""
    return pack(method.state_dict())


def write(folder: Path, contents: Contents, weights: bytes, *, replace: bool) -> None:
    """Put a bundle's folder in place, whole or not at all.

    Raises:
        BundleError: something stands there that may not be replaced, or it cannot be written or read back.
    """
    entries = _entries(contents, weights)
    fixed = contents.likelihood == "categorical" and not tags_of(contents.parts.method).any_ways
    with in_place(folder, replace=replace) as draft:
        files.write(draft / WEIGHTS, weights)
        files.write(draft / CARD, card(entries, contents.encoder.kind, contents.parts.outputs if fixed else None))
        files.write(draft / MANIFEST, render(entries))
        read(draft)  # a class that only this process knows cannot be found again


def read(folder: Path) -> tuple[Contents, MetaLearner]:
    """What a bundle's folder holds, checked, and its method with its weights.

    Raises:
        BundleError: there is none, it is damaged, or it says something unknown.
    """
    manifest = parse(folder / MANIFEST)
    content = _weights(folder, manifest)
    if content is None and (again := parse(folder / MANIFEST)) != manifest:  # it was replaced while it was read
        manifest, content = again, _weights(folder, again)
    if content is None:
        raise BundleError(
            f"{folder / WEIGHTS} is missing or damaged: it does not match the SHA-256 in {MANIFEST}. Make the bundle "
            "again, or get it anew from where it came from."
        )
    parts = Parts(manifest.method, manifest.net, manifest.item, manifest.outputs, manifest.pool_outputs)
    contents = Contents(
        name=manifest.name,
        version=manifest.version,
        likelihood=manifest.likelihood,
        licence=manifest.licence,
        parts=parts,
        encoder=manifest.encoder,
        calibrations=tuple(each.made for each in manifest.novelty),
        labels=manifest.labels,
        provenance=manifest.provenance,
    )
    return contents, _method(folder, parts, content)


def _entries(contents: Contents, weights: bytes) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": contents.name,
        "version": contents.version,
        "likelihood": contents.likelihood,
        "licence": contents.licence,
        **contents.parts.plain(),
        "encoder": dump(contents.encoder),
        "novelty": [Calibrated.of(each) for each in contents.calibrations],
        "bytes": len(weights),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "provenance": contents.provenance,
        "labels": list(contents.labels),
    }


def _weights(folder: Path, manifest: Manifest) -> bytes | None:
    """The weights' file, or None where it is not the one that the manifest means."""
    path = folder / WEIGHTS
    try:
        if not path.is_file() or path.stat().st_size != manifest.bytes:
            return None
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}. Mend the permissions, or get it anew.") from error
    return content if hashlib.sha256(content).hexdigest() == manifest.sha256 else None


def _method(folder: Path, parts: Parts, content: bytes) -> MetaLearner:
    try:
        method = parts.build()
        method.load_state_dict(safetensors.torch.load(content))
    except (QuickstudyError, RuntimeError, TypeError, ValueError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[-1].strip()  # torch lists every weight; one tells enough
        raise BundleError(
            f"the method of {folder} cannot be built from its settings and weights: {reason} Use the quickstudy that "
            "made the bundle (its provenance names it), or make it again."
        ) from error
    return method


@contextlib.contextmanager
def in_place(folder: Path, *, replace: bool) -> Iterator[Path]:
    """A folder to write beside `folder`, which takes its place when the block ends well and vanishes otherwise.

    Raises:
        BundleError: something stands there that may not be replaced, or it cannot be written.
    """
    folder = folder.absolute()
    _check_free(folder, replace)
    mark = f"{os.getpid()}.{threading.get_ident()}"
    draft, old = (folder.with_name(f".{folder.name}.{mark}.{what}") for what in ("new", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        if folder.exists() and any(folder.iterdir()):
            folder.rename(old)
        draft.rename(folder)
    except (OSError, CheckpointError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"{folder} cannot be written: {reason}. Make room, or name another folder.") from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _check_free(folder: Path, replace: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder} holds something other than a bundle. Name another folder.")
    if not replace:
        raise BundleError(f"{folder} holds a bundle already. Name another folder, or have it replaced (--replace).")
