"""What the server does: learners made, asked, changed and forgotten. Nothing here knows of HTTP."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import torch

from quickstudy.bundle import Bundle, Learner
from quickstudy.core.shapes import Tensor
from quickstudy.serve import intake, work
from quickstudy.serve.batching import Batcher
from quickstudy.serve.cache import Cache, Live
from quickstudy.serve.export import zipped
from quickstudy.serve.limits import Gate
from quickstudy.serve.making import (
    Change,
    Changed,
    check_size,
    counts,
    fitting,
    places,
    rewritten,
    without_class,
    without_example,
    worth_keeping,
)
from quickstudy.serve.metrics import Metrics
from quickstudy.serve.models import Models
from quickstudy.serve.reading import Reader
from quickstudy.serve.records import LearnerRecord, LearnerSummary, new_id
from quickstudy.serve.refusals import RefusedError, forgotten, not_found
from quickstudy.serve.settings import ServerSettings
from quickstudy.serve.store import Store
from quickstudy.serve.support import Support

__all__ = ["KeptExample", "Predictions", "Service"]

T = TypeVar("T")

TRIES = 5
"""Times that a change is made anew because another process changed the same learner meanwhile."""
STORE_THREADS = 8


class Predictions(NamedTuple):
    """What a learner says, with the names of its classes."""

    classes: tuple[str, ...]
    answers: work.Answers


class KeptExample(NamedTuple):
    """An example that a learner is made of."""

    id: str
    label: str
    times: int
    """How often it was given for this class."""


class Service:
    """Learners of all tenants.

    Args:
        settings: What is allowed.
        store: Where learners live.
        models: What they are made with.
        batcher: Computes.
        gate: Is told what is on its way to be computed.
        metrics: What is counted.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        store: Store,
        models: Models,
        batcher: Batcher,
        gate: Gate,
        metrics: Metrics,
    ) -> None:
        self.settings, self.limits = settings, settings.limits
        self.store, self.models, self.batcher, self.metrics = store, models, batcher, metrics
        self._gate = gate
        self._cache = Cache(int(settings.cache * 2**20), metrics)
        self._reader = Reader(settings, store=store, models=models, cache=self._cache, metrics=metrics)
        self._stores = ThreadPoolExecutor(STORE_THREADS, "quickstudy-store")
        self._decoders = ThreadPoolExecutor(settings.decoders, "quickstudy-decode")
        self._locks: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    def close(self) -> None:
        """Finish what is under way."""
        self._decoders.shutdown()
        self._stores.shutdown()

    async def tenant_of(self, key: str) -> str | None:
        """Whose key it is; None where it is nobody's."""
        return await self._storing(self.store.tenant_of, key)

    # --- one learner --------------------------------------------------------------------------------------------------

    async def create(self, tenant: str, content_type: str, body: bytes) -> LearnerSummary:
        """Make a learner of examples.

        Raises:
            RefusedError: the examples cannot make one.
            StoreError: it could not be stored.
        """
        limits = self.limits
        with self._gate.coming():
            read = self._reader.create_at_once(content_type, body)
            if read is None:
                read = await self._decoding(self._reader.create, content_type, body)
            asked, bundle, contents, x = read
            classes = tuple(dict.fromkeys(asked.labels))
            check_size(self.limits, bundle, classes, len(contents))
            labels = places(classes, asked.labels)
            x = await self._items(bundle, contents, x)
            adapting = work.adapting(bundle, x, labels, len(classes))
        learner: Learner = await self.batcher(adapting)
        support = Support(bundle.encoder.kind, contents, labels, worth_keeping(bundle, x), bundle.version)

        def store() -> LearnerRecord:
            record = LearnerRecord(
                id=new_id(),
                name=asked.name,
                model=bundle.name,
                version=bundle.version,
                classes=classes,
                counts=counts(labels, len(classes)),
                state=learner.to_bytes(),
                support=support.to_bytes() if asked.keep else None,
            )
            self.store.create(tenant, record, limits.learners)
            return record

        written = time.monotonic()
        record = await self._storing(store)
        self._cache.put(tenant, record.id, Live.of(bundle, learner, classes, record.revision, written))
        return record.summary

    async def predict(self, tenant: str, id: str, content_type: str, body: bytes) -> Predictions:
        """What a learner says of inputs.

        Raises:
            RefusedError: there is no such learner of this tenant's, or the inputs cannot be read.
        """
        with self._gate.coming():
            read = self._reader.predict_at_once(tenant, id, content_type, body)
            if read is None:
                read = await self._decoding(self._reader.predict, tenant, id, content_type, body)
            live, contents, x = read
            x = await self._items(live.bundle, contents, x)
            predicting = work.predicting(live, x)
        return Predictions(live.classes, await self.batcher(predicting))

    async def add(self, tenant: str, id: str, content_type: str, body: bytes) -> LearnerSummary:
        """Add examples, of known classes or new ones.

        Raises:
            RefusedError: there is no such learner, its examples are forgotten, or the new ones do not fit.
        """
        asked = await self._decoding(intake.add_of, content_type, body, self.limits)

        def change(record: LearnerRecord, support: Support, bundle: Bundle) -> Changed:
            contents = intake.checked(asked.raws, bundle.encoder, self.limits)
            classes = tuple(dict.fromkeys([*record.classes, *asked.labels]))
            check_size(self.limits, bundle, classes, len(support.labels) + len(contents))
            return Changed(classes, support.joined(contents, places(classes, asked.labels)), contents)

        return await self._change(tenant, id, change, "adding examples")

    async def remove(self, tenant: str, id: str, label: str) -> LearnerSummary:
        """Remove a class with its examples.

        Raises:
            RefusedError: there is no such learner or class, its examples are forgotten, or one class would be left.
        """

        def change(record: LearnerRecord, support: Support, bundle: Bundle) -> Changed:
            if label not in record.classes:
                raise not_found("class")
            return without_class(record, support, record.classes.index(label))

        return await self._change(tenant, id, change, "removing a class")

    async def examples(self, tenant: str, id: str) -> list[KeptExample]:
        """The examples that a learner is made of, equal ones of one class as one.

        Raises:
            RefusedError: there is no such learner, or its examples are forgotten.
        """

        def listed() -> list[KeptExample]:
            record = self._record(tenant, id)
            if record.support is None:
                raise forgotten("listing examples")
            support = Support.from_bytes(record.support)
            counts = Counter(zip(support.ids(record.classes), support.labels, strict=True))
            return [KeptExample(own, record.classes[label], count) for (own, label), count in counts.items()]

        return await self._storing(listed)

    async def remove_example(self, tenant: str, id: str, example: str) -> LearnerSummary:
        """Remove an example; the last one of a class takes the class with it.

        Raises:
            RefusedError: there is no such learner or example, its examples are forgotten, or one class would be left.
        """

        def change(record: LearnerRecord, support: Support, bundle: Bundle) -> Changed:
            return without_example(record, support, example)

        return await self._change(tenant, id, change, "removing an example")

    async def readapt(self, tenant: str, id: str) -> LearnerSummary:
        """Make a learner follow to the newest version of its model.

        Raises:
            RefusedError: there is no such learner, its examples are forgotten, or the newest version cannot take them.
        """
        summary = (await self._storing(self._record, tenant, id)).summary
        if self.models.is_newest(summary.model, summary.version):
            return summary
        return await self._change(tenant, id, self._same, "following to another version", newest=True)

    async def get(self, tenant: str, id: str) -> LearnerSummary:
        """A learner.

        Raises:
            RefusedError: there is none of this id of this tenant's.
        """
        return (await self._storing(self._record, tenant, id)).summary

    async def delete(self, tenant: str, id: str) -> None:
        """Forget a learner, with all that belongs to it.

        Raises:
            RefusedError: there is none of this id of this tenant's.
        """
        if not await self._storing(self.store.delete, tenant, id):
            raise not_found()
        self._cache.drop(tenant, id)

    async def page(self, tenant: str, after: str | None, limit: int) -> Sequence[LearnerSummary]:
        """Some of a tenant's learners, in the order of their ids."""
        return await self._storing(self.store.list, tenant, after, limit)

    async def export(self, tenant: str, id: str) -> bytes:
        """A learner as a zip: its tensors as safetensors, and what they mean as JSON.

        Raises:
            RefusedError: there is none of this id of this tenant's.
        """
        return await self._storing(lambda: zipped(self._record(tenant, id)))

    # --- in the background --------------------------------------------------------------------------------------------

    def follow(self, tenant: str, id: str) -> bool:
        """Make a learner follow to the newest version of its model, from a thread that waits for it.

        Returns:
            False where it has changed, or gone, meanwhile.

        Raises:
            RefusedError: the newest version cannot take its examples.
        """
        record = self.store.get(tenant, id)
        if record is None or record.support is None or self.models.is_newest(record.model, record.version):
            return False
        bundle = self.models.newest(record.model)
        support = Support.from_bytes(record.support)
        contents = fitting(support, bundle)
        check_size(self.limits, bundle, record.classes, len(contents))
        if work.is_light(bundle):
            x = intake.items_of(contents, bundle.encoder)
        else:
            x = self.batcher.in_background(work.encoding(bundle, contents))
        learner = self.batcher.in_background(work.adapting(bundle, x, support.labels, len(record.classes)))
        after = Changed(record.classes, support, [])
        changed = rewritten(record, after, learner, worth_keeping(bundle, x))
        if not self.store.replace(tenant, changed, record.revision):
            return False
        self._cache.put(tenant, id, Live.of(bundle, learner, record.classes, record.revision + 1))
        return True

    # --- how ----------------------------------------------------------------------------------------------------------

    async def _change(self, tenant: str, id: str, change: Change, what: str, *, newest: bool = False) -> LearnerSummary:
        """Change a learner and adapt it anew; made again where another process was quicker."""
        lock = self._locks.setdefault((tenant, id), asyncio.Lock())
        async with lock:
            for _ in range(TRIES):
                with self._gate.coming():
                    record, support, bundle = await self._storing(self._changeable, tenant, id, what, newest)
                    after, x = await self._decoding(self._changed, change, record, support, bundle)
                    x = await self._all_items(bundle, after, x)
                    adapting = work.adapting(bundle, x, after.support.labels, len(after.classes))
                learner: Learner = await self.batcher(adapting)
                changed = await self._storing(rewritten, record, after, learner, worth_keeping(bundle, x))
                written = time.monotonic()
                if await self._storing(self.store.replace, tenant, changed, record.revision):
                    live = Live.of(bundle, learner, after.classes, record.revision + 1, written)
                    self._cache.put(tenant, id, live)
                    return changed.summary
        raise RefusedError(
            409, "conflict", "others keep changing this learner at the same time. Look at it, and try again.", 1.0
        )

    def _changeable(self, tenant: str, id: str, what: str, newest: bool) -> tuple[LearnerRecord, Support, Bundle]:
        record = self._record(tenant, id)
        if record.support is None:
            raise forgotten(what)
        bundle = self.models.newest(record.model) if newest else self.models.version(record.model, record.version)
        return record, Support.from_bytes(record.support), bundle

    @staticmethod
    def _changed(
        change: Change, record: LearnerRecord, support: Support, bundle: Bundle
    ) -> tuple[Changed, Tensor | None]:
        after = change(record, support, bundle)
        if work.is_light(bundle):
            return after, intake.items_of(after.support.contents, bundle.encoder)
        return after, None

    def _same(self, record: LearnerRecord, support: Support, bundle: Bundle) -> Changed:
        fitting(support, bundle)
        check_size(self.limits, bundle, record.classes, len(support.labels))
        return Changed(record.classes, support, [])

    def _record(self, tenant: str, id: str) -> LearnerRecord:
        record = self.store.get(tenant, id)
        if record is None:
            raise not_found()
        return record

    async def _items(self, bundle: Bundle, contents: list[Any], x: Tensor | None) -> Tensor:
        if x is not None:
            return x
        with self._gate.away():
            found: Tensor = await self.batcher(work.encoding(bundle, contents))
        return found

    async def _all_items(self, bundle: Bundle, after: Changed, x: Tensor | None) -> Tensor:
        """What the encoder makes of a support; only of what is new in it, where the rest is kept."""
        before = after.support.of_version(bundle.version)
        if x is not None or before is None:
            return await self._items(bundle, after.support.contents, x)
        return torch.cat([before, await self._items(bundle, after.new, None)]) if after.new else before

    async def _storing(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._stores, call, *args)

    async def _decoding(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, call, *args)
