"""Requests read: which model or learner they are about, and what they send, checked and made into tensors."""

from __future__ import annotations

import time
from typing import Any

from quickstudy.bundle import Bundle, Learner
from quickstudy.core.shapes import Tensor
from quickstudy.encoders import ImageEncoder
from quickstudy.serve import intake, small, work
from quickstudy.serve.cache import Cache, Live
from quickstudy.serve.intake import Asked
from quickstudy.serve.metrics import Metrics
from quickstudy.serve.models import Models
from quickstudy.serve.refusals import not_found
from quickstudy.serve.settings import ServerSettings
from quickstudy.serve.store import Store

__all__ = ["Reader"]

AT_ONCE = 2**16
"""Bytes of a body that may be read by the thread that all requests arrive at."""

ToMake = tuple[Asked, Bundle, list[Any], Tensor | None]
"""What a learner is to be made of: what was asked, the bundle, the examples, and what its encoder makes of them unless
that takes a net."""
ToAsk = tuple[Live, list[Any], Tensor | None]
"""The learner that is asked, the inputs, and what its encoder makes of them unless that takes a net."""


class Reader:
    """Reads requests to make learners and to predict.

    Small ones can be read at once, where they arrive: going to another thread and back takes longer than reading them.
    What would have to wait for something, or may take long, cannot.

    Args:
        settings: What is allowed.
        store: Where learners live.
        models: What they are made with.
        cache: Learners at hand.
        metrics: Where look-ups are counted.
    """

    def __init__(
        self, settings: ServerSettings, *, store: Store, models: Models, cache: Cache, metrics: Metrics
    ) -> None:
        self._limits, self._believed = settings.limits, settings.believed
        self._store, self._models, self._cache, self._metrics = store, models, cache, metrics

    def create(self, content_type: str, body: bytes) -> ToMake:
        """A request to make a learner.

        Raises:
            RefusedError: it is none, or cannot be done.
        """
        asked = intake.create_of(content_type, body, self._limits)
        bundle = self._models.newest(asked.model)
        contents, x = self._read(asked, bundle)
        return asked, bundle, contents, x

    def predict(self, tenant: str, id: str, content_type: str, body: bytes) -> ToAsk:
        """A request to predict.

        Raises:
            RefusedError: it is none, or cannot be done.
        """
        live = self._find(tenant, id)  # here too, for going to another thread takes longer than finding it
        return live, *self._read(intake.predict_of(content_type, body, self._limits), live.bundle)

    def create_at_once(self, content_type: str, body: bytes) -> ToMake | None:
        """What `create` gives; None where it has to be asked, on another thread."""
        if len(body) > AT_ONCE:
            return None
        asked = intake.create_of(content_type, body, self._limits)
        bundle = self._models.newest(asked.model)
        read = self._read_at_once(asked, bundle)
        return None if read is None else (asked, bundle, *read)

    def predict_at_once(self, tenant: str, id: str, content_type: str, body: bytes) -> ToAsk | None:
        """What `predict` gives; None where it has to be asked, on another thread."""
        live = self._cache.get(tenant, id) if len(body) <= AT_ONCE else None
        if live is None or not self._is_fresh(live):
            return None
        read = self._read_at_once(intake.predict_of(content_type, body, self._limits), live.bundle)
        if read is None:
            return None
        self._metrics.from_cache.inc()
        return live, *read

    def _read_at_once(self, asked: Asked, bundle: Bundle) -> tuple[list[Any], Tensor | None] | None:
        if not isinstance(bundle.encoder, ImageEncoder):
            return self._read(asked, bundle)
        if not small.are_small(asked.raws, self._limits):
            return None
        contents = [each.content for each in asked.raws]
        x = small.items_of_small(contents, bundle.encoder)
        return None if x is None else (contents, x)

    def _read(self, asked: Asked, bundle: Bundle) -> tuple[list[Any], Tensor | None]:
        contents = intake.checked(asked.raws, bundle.encoder, self._limits)
        return contents, intake.items_of(contents, bundle.encoder) if work.is_light(bundle) else None

    def _find(self, tenant: str, id: str) -> Live:
        """A learner ready to predict: as remembered, if that is its revision still."""
        live = self._cache.get(tenant, id)
        if live is not None and self._is_current(tenant, id, live):
            self._metrics.from_cache.inc()
            return live
        now = time.monotonic()
        state = self._store.state(tenant, id)
        if state is None:
            self._cache.drop(tenant, id)
            raise not_found()
        self._metrics.lookups.labels("store").inc()
        bundle = self._models.version(state.model, state.version)
        live = Live.of(bundle, Learner.from_bytes(state.state), state.classes, state.revision, now)
        self._cache.put(tenant, id, live)
        return live

    def _is_current(self, tenant: str, id: str, live: Live) -> bool:
        """Whether a remembered learner is the stored one still; what this process changes, it remembers anew."""
        if self._is_fresh(live):
            return True
        now = time.monotonic()
        if self._store.revision(tenant, id) != live.revision:
            return False
        live.seen[0] = now
        return True

    def _is_fresh(self, live: Live) -> bool:
        """Whether it was looked at so lately that it is believed."""
        return time.monotonic() - live.seen[0] < self._believed
