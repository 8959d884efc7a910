"""Everything that one process of a server consists of, put together and taken apart in order."""

from __future__ import annotations

import sys

import torch

from quickstudy.serve import logs
from quickstudy.serve.batching import Batcher
from quickstudy.serve.follower import Follower
from quickstudy.serve.limits import Bodies, Gate, Rates
from quickstudy.serve.metrics import Metrics
from quickstudy.serve.models import Models
from quickstudy.serve.service import Service
from quickstudy.serve.settings import ServerSettings
from quickstudy.serve.store import Store

__all__ = ["Server"]

SWITCH = 0.001
"""Seconds that a thread computes in Python before another may. Five times the usual: threads wait for each other often
here, and each for little."""
QUEUE = 1024


class Server:
    """The parts of a process that serves.

    Args:
        settings: What it is made of.

    Raises:
        QuickstudyError: a bundle or the database cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        sys.setswitchinterval(SWITCH)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        limits = settings.limits
        self.metrics = Metrics()
        self.models = Models(settings.bundles, settings.versions, self.metrics, self._changed, settings.calibration)
        self.store = Store.open(settings.db)
        self.gate = Gate(limits.waiting, limits.share if settings.keys else 1.0, self._delay)
        self.rates = Rates(limits.rate / settings.workers, max(1, limits.burst // settings.workers))
        self.bodies = Bodies(limits)
        self.batcher = Batcher(
            most=settings.batch,
            wait=settings.wait / 1000,
            queue=QUEUE,
            expected=self.gate.expected,
            metrics=self.metrics,
        )
        self.service = Service(
            settings,
            store=self.store,
            models=self.models,
            batcher=self.batcher,
            gate=self.gate,
            metrics=self.metrics,
        )
        self.stopping = False
        self._follower: Follower | None = None

    def start(self) -> None:
        """Begin what goes on in the background."""
        if self.settings.readapt:
            self._follower = Follower(self.service, self.store, self.models, self.metrics)
        if self.settings.watch:
            self.models.watch(self.settings.watch)
        logs.event(
            "serving",
            models={name: self.models.newest(name).version for name in self.models.names()},
            keys=self.settings.keys,
        )

    def close(self) -> None:
        """Finish what was accepted, and stop."""
        self.stopping = True
        self.models.close()
        if self._follower is not None:
            self._follower.close()
        self.batcher.close()
        self.service.close()
        self.store.close()
        logs.event("stopped")

    def _changed(self, name: str, version: str) -> None:
        if self._follower is not None:
            self._follower.changed(name)

    def _delay(self) -> float:
        return self.batcher.delay
