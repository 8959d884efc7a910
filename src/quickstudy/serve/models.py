"""The models of a server: loaded from bundles, replaced while it runs, every version kept that learners may need.

A new version is loaded and warmed beside the one that serves, and only then takes its place: for new learners alone.
Those that there are belong to the version that made them, which stays at hand. A copy of each version is kept in a
folder of the server's own before anybody can use it, so that neither a restart nor a changed bundle loses it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from quickstudy.bundle import Bundle
from quickstudy.bundle.calibration import SIZES
from quickstudy.core import files
from quickstudy.errors import BundleError, QuickstudyError, SettingsError
from quickstudy.serve import logs
from quickstudy.serve.metrics import Metrics
from quickstudy.serve.refusals import RefusedError, not_found
from quickstudy.train.run import Run

__all__ = ["Models"]

OLD_AT_HAND = 8
"""Versions that are not the newest and stay loaded; others are loaded from their copies when a learner needs them."""

Signature = tuple[tuple[str, int, int, int], ...]


class Models:
    """Bundles by name and version.

    Args:
        folders: Of bundles or runs, one for each model.
        kept: The folder for copies of versions.
        metrics: Where loads are counted.
        changed: Called with a model's name and version after a new version has taken its place.
        calibration: Whether bundles of runs are calibrated.

    Raises:
        SettingsError: two bundles have one name, or one predicts real values.
        BundleError: a bundle cannot be loaded, and no copy of it is kept either.
    """

    def __init__(
        self,
        folders: Sequence[Path | str],
        kept: Path | str,
        metrics: Metrics,
        changed: Callable[[str, str], None] = lambda name, version: None,
        calibration: bool = True,
    ) -> None:
        self._kept, self._metrics, self._changed = Path(kept), metrics, changed
        self._sizes = SIZES if calibration else ()
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._newest: dict[str, Bundle] = {}
        self._folders: dict[str, Path] = {}
        self._seen: dict[str, Signature] = {}
        self._old: OrderedDict[tuple[str, str], Bundle] = OrderedDict()
        self._problems: dict[str, str] = {}
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        for folder in folders:
            self._add(Path(folder))

    # --- asking -------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Every model."""
        return list(self._newest)

    def newest(self, name: str) -> Bundle:
        """The version of a model that new learners are made with.

        Raises:
            RefusedError: there is no such model.
        """
        found = self._newest.get(name)
        if found is None:
            raise not_found("model")
        return found

    def is_newest(self, name: str, version: str) -> bool:
        """Whether that is the version of a model that new learners are made with."""
        found = self._newest.get(name)
        return found is not None and found.version == version

    def version(self, name: str, version: str) -> Bundle:
        """A version of a model, loaded from its copy where it is not at hand.

        Raises:
            RefusedError: it is not there any more.
        """
        newest = self._newest.get(name)
        if newest is not None and newest.version == version:
            return newest
        with self._lock:
            if (found := self._old.get((name, version))) is not None:
                self._old.move_to_end((name, version))
                return found
        try:
            bundle = Bundle.load(self._copy(name, version))
        except QuickstudyError as error:
            logs.event("version_missing", logging.ERROR, model=name, version=version)
            raise RefusedError(
                409,
                "model_gone",
                f"the learner belongs to version {version} of model {name!r}, which this server has not. POST "
                "/v1/learners/{id}/readapt makes it follow to the newest version, if its examples are kept.",
            ) from error
        self._put_old(name, bundle)
        return bundle

    def problems(self) -> list[str]:
        """What is wrong with bundles whose last good version goes on serving."""
        return list(self._problems.values())

    # --- changing -----------------------------------------------------------------------------------------------------

    def watch(self, every: float) -> None:
        """Look at the folders every so many seconds, and load what is new."""
        self._watcher = threading.Thread(target=self._watch, args=(every,), name="quickstudy-models", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join(timeout=10)

    def reload(self, name: str) -> tuple[str, str]:
        """Load what a model's folder holds now; the version before, and the one that serves then.

        Raises:
            RefusedError: there is no such model, or what is there cannot be used: the version before goes on serving.
        """
        before = self.newest(name).version
        try:
            self._load(name)
        except QuickstudyError as error:
            raise RefusedError(
                409, "damaged_bundle", f"version {before} of {name!r} goes on serving, for the new one fails: {error}"
            ) from error
        return before, self.newest(name).version

    def _watch(self, every: float) -> None:
        looks: dict[str, Signature] = {}
        while not self._stop.wait(every):
            for name, folder in self._folders.items():
                now = _signature(folder)
                # Twice the same: nobody is writing it just now.
                if now != self._seen[name] and looks.get(name) == now:
                    with contextlib.suppress(QuickstudyError):  # said in the logs and in /readyz
                        self._load(name)
                looks[name] = now

    def _add(self, folder: Path) -> None:
        signature = _signature(folder)
        try:
            bundle = _opened(folder, self._sizes)
        except QuickstudyError as error:
            bundle = self._fallback(folder, error)
        if bundle.name in self._newest:
            raise SettingsError(
                f"{folder} and {self._folders[bundle.name]} are both called {bundle.name!r}; requests choose a model "
                "by its name. Make the bundle of one of them anew: quickstudy bundle RUN OUT --name NAME."
            )
        self._keep(bundle)
        _warm(bundle)
        self._folders[bundle.name], self._seen[bundle.name] = folder, signature
        self._serve(bundle)

    def _fallback(self, folder: Path, error: QuickstudyError) -> Bundle:
        """The version of a folder that served last, where what is in it now cannot be used."""
        try:
            name, version = json.loads(self._index(folder).read_text(encoding="utf-8"))
            bundle = Bundle.load(self._copy(name, version))
        except (OSError, ValueError, TypeError, QuickstudyError):
            raise error from None
        self._problem(name, version, error)
        return bundle

    def _load(self, name: str) -> None:
        """Put the bundle in a model's folder in the place of the one that serves, if it is another and is sound.

        Raises:
            QuickstudyError: it is not.
        """
        with self._loading:
            folder, before = self._folders[name], self._newest[name]
            self._seen[name] = _signature(folder)
            try:
                bundle = _opened(folder, self._sizes)
                if bundle.name != name:
                    raise BundleError(
                        f"{folder} now holds {bundle.name!r} in place of {name!r}. Give the new version the same name, "
                        "or serve it from a folder of its own."
                    )
                if bundle.version != before.version:
                    _warm(bundle)
                    self._keep(bundle)
            except Exception as error:
                self._problem(name, before.version, error)
                if isinstance(error, QuickstudyError):
                    raise
                raise BundleError(f"{folder} cannot be used: {type(error).__name__}. See the server's logs.") from error
            self._problems.pop(name, None)
            if bundle.version == before.version:
                return
            self._put_old(name, before)
            self._serve(bundle)
            self._metrics.models.labels(name, before.version, "yes").set(0)
            self._metrics.loads.labels(name, "loaded").inc()
            logs.event("model_loaded", model=name, version=bundle.version, before=before.version)
        self._changed(name, bundle.version)

    def _serve(self, bundle: Bundle) -> None:
        self._newest[bundle.name] = bundle
        folder = self._folders[bundle.name]
        with contextlib.suppress(QuickstudyError):  # only a restart with a damaged bundle would miss it
            files.write(self._index(folder), json.dumps([bundle.name, bundle.version]))
        self._metrics.models.labels(bundle.name, bundle.version, "yes").set(1)

    def _problem(self, name: str, version: str, error: Exception) -> None:
        self._metrics.loads.labels(name, "failed").inc()
        self._problems[name] = (
            f"model {name!r}: what is in its folder cannot be used (see the logs); version {version} goes on serving."
        )
        logs.event("model_not_loaded", logging.ERROR, model=name, serving=version, reason=str(error))

    def _put_old(self, name: str, bundle: Bundle) -> None:
        with self._lock:
            self._old[name, bundle.version] = bundle
            self._old.move_to_end((name, bundle.version))
            while len(self._old) > OLD_AT_HAND:
                self._old.popitem(last=False)

    # --- copies -------------------------------------------------------------------------------------------------------

    def _copy(self, name: str, version: str) -> Path:
        return self._kept / _plain(name) / _plain(version)

    def _index(self, folder: Path) -> Path:
        return self._kept / f"{_plain(str(folder.resolve()))}.json"

    def _keep(self, bundle: Bundle) -> None:
        """Keep a copy of a version, whole or not at all.

        Raises:
            BundleError: it cannot be written.
        """
        place = self._copy(bundle.name, bundle.version)
        if place.exists():
            return
        try:
            bundle.save(place)
        except BundleError:
            if not place.exists():  # else another process has just written the same
                raise


def _opened(folder: Path, sizes: Sequence[tuple[int, int]]) -> Bundle:
    """The bundle in a folder, or that of its run, calibrated for tasks of these sizes where that can be done here."""
    bundle = Bundle.open(folder)
    if bundle.likelihood != "categorical":
        raise SettingsError(f"{folder} predicts real values; a server tells classes apart. Serve a bundle for classes.")
    if sizes and not Bundle.stands_in(folder):
        bundle.calibrate(Run.open(folder), sizes)
    return bundle


def _warm(bundle: Bundle) -> None:
    """Adapt and predict on noise, so that the first request finds everything made ready, and what fails, fails now."""
    ways = min(2, bundle.ways or 2)
    x = torch.rand(2 * ways, *bundle.item, generator=torch.Generator().manual_seed(0))
    task: Any = (x, [at % ways for at in range(2 * ways)], ways)
    for count in (1, 2):
        learners = bundle.adapt_many([task] * count)
        bundle.predict_many([(learner, x[:1]) for learner in learners])


def _signature(folder: Path) -> Signature:
    """What changes when anything in a bundle's or a run's folder is written."""
    return tuple(sorted(_stamps(folder)))


def _stamps(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for place in (folder, folder / "checkpoints"):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat()
                    if entry.is_file() and not entry.name.startswith("."):
                        yield entry.name, found.st_mtime_ns, found.st_size, found.st_ino


def _plain(name: str) -> str:
    """A name as the name of a file: what may not stand there, as its number."""
    return "".join(each if each.isalnum() or each in "-_" else f"%{ord(each):x}" for each in name)
