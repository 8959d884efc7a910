"""Learners that follow to a new version of their model, in the background: from their kept examples, one by one."""

from __future__ import annotations

import logging
import queue
import threading

from quickstudy.errors import QuickstudyError
from quickstudy.serve import logs
from quickstudy.serve.metrics import Metrics
from quickstudy.serve.models import Models
from quickstudy.serve.refusals import RefusedError
from quickstudy.serve.service import Service
from quickstudy.serve.store import Store

__all__ = ["Follower"]

PAGE = 100
PATIENCE = 30.0
"""Seconds until what could not be done for the database's sake is tried again."""


class Follower:
    """Re-adapts learners of older versions; requests go first.

    It begins with every model, for a server may have stopped in the middle, and goes on with each that changes.
    """

    def __init__(self, service: Service, store: Store, models: Models, metrics: Metrics) -> None:
        self._service, self._store, self._models, self._metrics = service, store, models, metrics
        self._changed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        for name in models.names():
            self._changed.put(name)
        self._thread = threading.Thread(target=self._run, name="quickstudy-follow", daemon=True)
        self._thread.start()

    def changed(self, name: str) -> None:
        """A model has a new version."""
        self._changed.put(name)

    def close(self) -> None:
        """Stop after the learner at hand; the others follow when a server runs again."""
        self._stop.set()
        self._changed.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while (name := self._changed.get()) is not None and not self._stop.is_set():
            try:
                self._all(name)
            except QuickstudyError as error:
                logs.failure("following_interrupted", error, model=name)
                if not self._stop.wait(PATIENCE):
                    self._changed.put(name)
            except Exception as error:  # whatever it is, learners of other models go on following
                logs.failure("following_failed", error, model=name)

    def _all(self, name: str) -> None:
        """Every learner of a model that belongs to another version than the newest."""
        version = self._models.newest(name).version
        counts = {"followed": 0, "skipped": 0, "failed": 0}
        after: tuple[str, str] | None = None
        while page := self._store.outdated(name, version, PAGE, after):
            for tenant, learner in page:
                if self._stop.is_set() or not self._models.is_newest(name, version):
                    return
                result = self._one(tenant, learner.id)
                counts[result] += 1
                self._metrics.readapted.labels(result).inc()
                after = tenant, learner.id
        if any(counts.values()):
            logs.event("learners_followed", model=name, version=version, **counts)

    def _one(self, tenant: str, id: str) -> str:
        try:
            return "followed" if self._service.follow(tenant, id) else "skipped"
        except RefusedError as error:
            if error.code == "busy":
                self._stop.wait(error.retry_after or 1.0)
                return "skipped"
            logs.event("learner_stays", logging.WARNING, reason=error.code)
            return "failed"
