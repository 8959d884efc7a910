"""One thread that computes, and takes together what can be computed together.

While it computes, requests gather; when it is free again, it takes all that are alike in one mapped call. Requests that
arrive together are handed over together: the first waits for as long as each look at the network brings another. The
thread waits for more only if others are known to be on their way. Both take a few milliseconds at most, and a lone
request waits for neither.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from quickstudy.serve.metrics import Metrics
from quickstudy.serve.refusals import busy

__all__ = ["Batcher", "Work"]

LATER = 0.5
"""Seconds by which work in the background counts as younger than it is."""

Call = Callable[[list[Any]], Sequence[Any]]


@dataclass(frozen=True)
class Work:
    """Something to compute for one request.

    Work with an equal `key` is computed by one call of `call`, that of any of them, with all their items.
    """

    key: Hashable
    """Begins with what kind of work it is, which metrics show."""
    call: Call = field(compare=False)
    item: Any = field(compare=False)
    size: int = 1
    """Its share of a call, in examples."""


@dataclass
class _Job:
    work: Work
    done: Future[Any] | asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop | None
    arrived: float
    due: float


class Batcher:
    """Computes, on one thread of its own.

    Args:
        most: Requests in one call; 1 takes each alone.
        examples: Examples in one call, unless a single request has more: what follows is not kept waiting for long.
        wait: Seconds to wait at most for requests on their way.
        queue: Requests that may wait; further ones are refused.
        expected: How many requests are on their way to here.
        metrics: Where calls are counted.
    """

    def __init__(
        self,
        *,
        most: int = 64,
        examples: int = 256,
        wait: float = 0.003,
        queue: int = 1024,
        expected: Callable[[], int] = lambda: 0,
        metrics: Metrics | None = None,
    ) -> None:
        self._most, self._examples, self._wait, self._queue = most, examples, wait, queue
        self._expected, self._metrics = expected, metrics
        self._groups: OrderedDict[Hashable, deque[_Job]] = OrderedDict()
        self._gathering: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        self._waiting = 0
        self._pace = 0.0
        self._closing = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="quickstudy-compute", daemon=True)
        self._thread.start()

    @property
    def thread(self) -> int:
        """The number that the system knows the computing thread by."""
        return self._thread.native_id or 0

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._waiting

    @property
    def delay(self) -> float:
        """About how many seconds a request waits that comes now."""
        return self._pace * (self._waiting + 1)

    async def __call__(self, work: Work) -> Any:
        """What `work` comes to, for a coroutine.

        Raises:
            RefusedError: too much is waiting.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        job = _Job(work, done, loop, *self._times(0.0))
        with self._change:
            self._check_room(len(self._gathering.get(loop, ())))
            gathering = self._gathering.setdefault(loop, [])
            gathering.append(job)
            if len(gathering) == 1:
                loop.call_soon(self._gather, loop, 0)
        return await done

    def _gather(self, loop: asyncio.AbstractEventLoop, before: int) -> None:
        """Hand over what has arrived, unless more has since the last look at the network and yet more may."""
        with self._change:
            jobs = self._gathering.get(loop)
            if not jobs:  # handed over meanwhile, because the server stops
                return
            if before < len(jobs) < self._most and time.monotonic() - jobs[0].arrived < self._wait:
                loop.call_soon(self._gather, loop, len(jobs))
            else:
                self._hand_over(loop)

    def in_background(self, work: Work) -> Any:
        """What `work` comes to, for another thread that waits for it; requests go first.

        Raises:
            RefusedError: too much is waiting.
        """
        done: Future[Any] = Future()
        with self._change:
            self._check_room(0)
            self._enqueue(_Job(work, done, None, *self._times(LATER)))
        return done.result()

    def close(self) -> None:
        """Finish what was taken on, and take nothing more."""
        with self._change:
            self._closing = True
            for loop in list(self._gathering):
                self._hand_over(loop)
            self._change.notify()
        self._thread.join()

    @staticmethod
    def _times(later: float) -> tuple[float, float]:
        now = time.monotonic()
        return now, now + later

    def _check_room(self, more: int) -> None:
        """Raises:
        RefusedError: the server is stopping, or too much waits besides these.
        """
        if self._closing:
            raise busy("the server is stopping. Try again in a moment.", 2.0, 503, "stopping")
        if self._waiting + more >= self._queue:
            raise busy(f"{self._waiting} requests wait already. Come again a little later.", max(1.0, self.delay))

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._enqueue(*self._gathering.pop(loop))

    def _enqueue(self, *jobs: _Job) -> None:
        for job in jobs:
            self._groups.setdefault(job.work.key, deque()).append(job)
        self._waiting += len(jobs)
        self._change.notify()

    def _run(self) -> None:
        while (jobs := self._next()) is not None:
            began = time.monotonic()
            results = _computed(jobs)
            took = time.monotonic() - began
            self._pace += 0.1 * (took / len(jobs) - self._pace)
            self._count(jobs, began, took)
            _deliver(jobs, results)

    def _next(self) -> list[_Job] | None:
        """The jobs of the next call; None at the end."""
        with self._change:
            while True:
                if not self._waiting:
                    if self._closing:
                        return None
                    self._change.wait()
                    continue
                group = min(self._groups.values(), key=lambda jobs: jobs[0].due)
                left = group[0].arrived + self._wait - time.monotonic()
                if left > 0 and not self._closing and not self._full(group) and self._expected() > 0:
                    self._change.wait(left)
                    continue
                taken = self._take(group)
                if taken:
                    return taken

    def _full(self, group: deque[_Job]) -> bool:
        return len(group) >= self._most or sum(job.work.size for job in group) >= self._examples

    def _take(self, group: deque[_Job]) -> list[_Job]:
        """As many of a group as fit in one call, leaving out those that nobody waits for any more."""
        key = group[0].work.key
        taken: list[_Job] = []
        size = 0
        while group and len(taken) < self._most and (not taken or size + group[0].work.size <= self._examples):
            job = group.popleft()
            self._waiting -= 1
            if not job.done.cancelled():
                taken.append(job)
                size += job.work.size
        if not group:
            del self._groups[key]
        return taken

    def _count(self, jobs: list[_Job], began: float, took: float) -> None:
        if self._metrics is None:
            return
        key = jobs[0].work.key
        kind = str(key[0]) if isinstance(key, tuple) else "other"
        self._metrics.batch.labels(kind).observe(len(jobs))
        self._metrics.compute.labels(kind).observe(took)
        waited = self._metrics.waited.labels(kind)
        for job in jobs:
            waited.observe(max(0.0, began - job.arrived))


def _computed(jobs: list[_Job]) -> list[Any]:
    """The result of each job, or the error it ran into; what one of them ran into is no other's."""
    call = jobs[0].work.call
    try:
        results = list(call([job.work.item for job in jobs]))
        if len(results) != len(jobs):
            raise RuntimeError(f"a call for {len(jobs)} requests gave {len(results)} results")
        return results
    except Exception as error:
        if len(jobs) == 1:
            return [error]
        return [_computed([job])[0] for job in jobs]


def _deliver(jobs: list[_Job], results: list[Any]) -> None:
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for job, result in zip(jobs, results, strict=True):
        if isinstance(job.done, Future):
            _settle(job.done, result)
        elif job.loop is not None:
            loops.setdefault(job.loop, []).append((job.done, result))
    for loop, some in loops.items():
        try:
            loop.call_soon_threadsafe(_settle_all, some)  # one wake-up for all of them
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _settle_all(some: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for done, result in some:
        if not done.done():
            _settle(done, result)


def _settle(done: Future[Any] | asyncio.Future[Any], result: Any) -> None:
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
