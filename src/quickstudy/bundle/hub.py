"""Bundles on the Hugging Face hub: pushed in one commit, pulled whole, and checked before they take their place."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from quickstudy.bundle.bundle import Bundle
from quickstudy.bundle.folder import CARD, MANIFEST, WEIGHTS, in_place
from quickstudy.bundle.manifest import LARGEST, addresses
from quickstudy.core.extras import extra
from quickstudy.errors import BundleError, QuickstudyError

__all__ = ["Pushed", "pull", "push"]

MOST = 8 * 2**30
"""Bytes of weights that are pulled at most."""
LARGEST_CARD = 2**20


class Pushed(NamedTuple):
    """Where a bundle went."""

    repository: str
    commit: str
    url: str


def push(folder: Path | str, repository: str, *, private: bool = True, endpoint: str | None = None) -> Pushed:
    """Put a bundle's folder into a repository of models, made if it is not there, in one commit.

    Args:
        folder: The bundle's; it is checked first.
        repository: OWNER/NAME.
        private: Whether a repository made now is seen by its owner alone.
        endpoint: Another hub; by default the one of HF_ENDPOINT, or huggingface.co.

    Raises:
        BundleError: the bundle is damaged, or the hub refuses.
        ExtraError: huggingface_hub is not installed.
    """
    folder = Path(folder)
    bundle = Bundle.load(folder)
    with _hub(repository, endpoint) as api:
        api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[MANIFEST, WEIGHTS, CARD],
            commit_message=f"{bundle.name} {bundle.version}",
        )
        return Pushed(repository, str(done.oid), str(done.commit_url))


def pull(
    repository: str,
    folder: Path | str,
    *,
    revision: str | None = None,
    own_code: bool = False,
    replace: bool = False,
    endpoint: str | None = None,
) -> Bundle:
    """Get a bundle from a repository of models: its three files alone, checked before the folder appears.

    Args:
        repository: OWNER/NAME.
        folder: Where to put it.
        revision: A commit, branch or tag; the newest of the main branch by default. A commit's hash can only ever mean
            the same files.
        own_code: Whether classes outside quickstudy may be used, by an address that the bundle names; they are imported
            from what is installed here.
        replace: Whether a bundle that stands there is replaced.
        endpoint: As for `push`.

    Raises:
        BundleError: there is none, it is damaged, it says something unknown or names code of its own.
        ExtraError: huggingface_hub is not installed.
    """
    folder = Path(folder)
    with _hub(repository, endpoint) as api, tempfile.TemporaryDirectory() as place:
        info = api.model_info(repository, revision=revision, files_metadata=True)
        _check_sizes(repository, {each.rfilename: each.size for each in info.siblings or ()})
        draft = Path(place) / "bundle"
        for name in (MANIFEST, WEIGHTS, CARD):
            if any(each.rfilename == name for each in info.siblings or ()):
                api.hf_hub_download(repository, name, revision=info.sha, local_dir=draft)
        if not own_code:
            _refuse_own_code(draft / MANIFEST)
        bundle = Bundle.load(draft)
        with in_place(folder, replace=replace) as whole:
            for name in (MANIFEST, WEIGHTS, CARD):
                if (draft / name).is_file():
                    shutil.copyfile(draft / name, whole / name)
    return bundle


@contextlib.contextmanager
def _hub(repository: str, endpoint: str | None) -> Iterator[Any]:
    """The hub's client, whose errors and the network's become `BundleError`."""
    hub = extra("huggingface_hub", "hub")
    try:
        yield hub.HfApi(endpoint=endpoint, library_name="quickstudy")
    except QuickstudyError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # of the hub (HTTP, names, offline mode) and of the network
        lines = [line.strip().removesuffix(".") for line in str(error).splitlines() if line.strip()]
        raise BundleError(
            f"the hub did not do as asked with {repository!r}: {'. '.join(lines[:2]) or type(error).__name__}. Check "
            "the name (OWNER/NAME), the network, and your token (`hf auth login`, or HF_TOKEN)."
        ) from error


def _check_sizes(repository: str, sizes: dict[str, int | None]) -> None:
    if MANIFEST not in sizes or WEIGHTS not in sizes:
        raise BundleError(
            f"{repository} holds no bundle: it has no {MANIFEST} with {WEIGHTS}. Push one with `quickstudy push`."
        )
    for name, most in ((MANIFEST, LARGEST), (WEIGHTS, MOST), (CARD, LARGEST_CARD)):
        if (sizes.get(name) or 0) > most:
            raise BundleError(f"{repository}: its {name} has {sizes[name]} bytes, where {most} are the most.")


def _refuse_own_code(manifest: Path) -> None:
    """Refuse classes outside quickstudy before anything is imported."""
    for address in addresses(manifest):
        if not address.startswith("quickstudy."):
            raise BundleError(
                f"this bundle names the class {address!r}, which is not quickstudy's and would be imported from what "
                "is installed here. If you know and trust it, pull with own_code=True (--own-code)."
            )
