"""One computing thread: what is alike goes together, what is alone does not wait, what was taken on is finished."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="prometheus_client comes with the extra `serve`")

from quickstudy.serve.batching import Batcher, Work
from quickstudy.serve.refusals import RefusedError

FOREVER = 60.0  # seconds: a test that waits for it fails by its own time limit


class Computer:
    """A batcher whose first call holds until `go` is set, and the calls that it has made."""

    def __init__(self, **options: Any) -> None:
        self.calls: list[list[Any]] = []
        self.go, self.busy = threading.Event(), threading.Event()
        self.batcher = Batcher(**options)

    def hold(self) -> Work:
        def call(items: list[Any]) -> list[Any]:
            self.busy.set()
            assert self.go.wait(FOREVER)
            return items

        return Work(("hold",), call, None)

    def work(self, key: str, item: Any, size: int = 1) -> Work:
        def call(items: list[Any]) -> list[Any]:
            self.calls.append(items)
            if "bad" in items:
                raise ValueError("bad")
            return [f"{key}{each}" for each in items]

        return Work((key,), call, item, size)


@pytest.fixture
def made() -> Iterator[Callable[..., Computer]]:
    computers: list[Computer] = []

    def computer(**options: Any) -> Computer:
        computers.append(Computer(**options))
        return computers[-1]

    yield computer
    for each in computers:
        each.go.set()
        each.batcher.close()


async def queued(computer: Computer, *works: Work) -> list[asyncio.Task[Any]]:
    """Work that waits, in this order, behind a call that holds."""
    holding = asyncio.create_task(computer.batcher(computer.hold()))
    while not computer.busy.is_set():
        await asyncio.sleep(0.001)
    tasks = [holding]
    for work in works:
        tasks.append(asyncio.create_task(computer.batcher(work)))
        await asyncio.sleep(0)
    return tasks


def test_what_gathered_is_computed_together(made: Any) -> None:
    computer = made()

    async def ask() -> list[Any]:
        tasks = await queued(computer, *(computer.work("a", at) for at in range(5)), computer.work("b", 9))
        computer.go.set()
        return await asyncio.gather(*tasks[1:])

    assert asyncio.run(ask()) == ["a0", "a1", "a2", "a3", "a4", "b9"]
    assert computer.calls == [[0, 1, 2, 3, 4], [9]]


def test_calls_are_bounded_in_requests_and_examples(made: Any) -> None:
    computer = made(most=3, examples=10)

    async def ask() -> None:
        few = [computer.work("a", at) for at in range(4)]
        large = [computer.work("b", at, size=6) for at in range(2)]
        tasks = await queued(computer, *few, *large, computer.work("c", 0, size=99))
        computer.go.set()
        await asyncio.gather(*tasks)

    asyncio.run(ask())
    assert computer.calls == [[0, 1, 2], [3], [0], [1], [0]]


def test_one_by_one_where_that_is_asked_for(made: Any) -> None:
    computer = made(most=1)

    async def ask() -> None:
        tasks = await queued(computer, *(computer.work("a", at) for at in range(3)))
        computer.go.set()
        await asyncio.gather(*tasks)

    asyncio.run(ask())
    assert computer.calls == [[0], [1], [2]]


def test_a_lone_request_never_waits(made: Any) -> None:
    computer = made(wait=FOREVER)
    assert asyncio.run(computer.batcher(computer.work("a", 1))) == "a1"


def test_a_request_waits_for_others_that_are_coming(made: Any) -> None:
    coming = 1
    computer = made(wait=FOREVER, expected=lambda: coming)

    async def ask() -> list[Any]:
        nonlocal coming
        first = asyncio.create_task(computer.batcher(computer.work("a", 1)))
        await asyncio.sleep(0.05)
        assert computer.calls == []
        coming = 0
        return [await computer.batcher(computer.work("a", 2)), await first]

    assert asyncio.run(ask()) == ["a2", "a1"]
    assert computer.calls == [[1, 2]]


def test_what_arrives_together_is_computed_together(made: Any) -> None:
    """Nothing computes meanwhile, and nobody is announced: each turn of the loop brings another."""
    computer = made(wait=FOREVER)

    async def ask() -> None:
        tasks = []
        for at in range(4):
            tasks.append(asyncio.create_task(computer.batcher(computer.work("a", at))))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    asyncio.run(ask())
    assert computer.calls == [[0, 1, 2, 3]]


def test_a_full_call_is_not_kept_waiting(made: Any) -> None:
    computer = made(most=2, wait=FOREVER)

    async def ask() -> None:
        await asyncio.gather(*(computer.batcher(computer.work("a", at)) for at in range(5)))

    asyncio.run(ask())
    assert computer.calls == [[0, 1], [2, 3], [4]]


def test_it_waits_no_longer_than_it_may(made: Any) -> None:
    computer = made(wait=0.01, expected=lambda: 1)
    assert asyncio.run(computer.batcher(computer.work("a", 1))) == "a1"


def test_an_error_is_that_of_its_own_request(made: Any) -> None:
    computer = made()

    async def ask() -> list[Any]:
        tasks = await queued(computer, *(computer.work("a", item) for item in (1, "bad", 2)))
        computer.go.set()
        return await asyncio.gather(*tasks[1:], return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert (first, third) == ("a1", "a2")
    assert isinstance(second, ValueError)


def test_results_may_be_errors_of_single_requests(made: Any) -> None:
    computer = made()
    work = Work(("a",), lambda items: [KeyError("k") for _ in items], 1)
    with pytest.raises(KeyError):
        asyncio.run(computer.batcher(work))


def test_too_few_results_are_an_error(made: Any) -> None:
    computer = made()
    with pytest.raises(RuntimeError, match="gave 0 results"):
        asyncio.run(computer.batcher(Work(("a",), lambda items: [], 1)))


def test_what_nobody_waits_for_is_left_out(made: Any) -> None:
    computer = made()

    async def ask() -> None:
        tasks = await queued(computer, *(computer.work("a", at) for at in range(3)), computer.work("b", 0))
        tasks[2].cancel()
        tasks[4].cancel()
        await asyncio.sleep(0)
        computer.go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await computer.batcher(computer.work("c", 1))

    asyncio.run(ask())
    assert computer.calls == [[0, 2], [1]]


def test_work_in_the_background_comes_after_requests(made: Any) -> None:
    computer = made()
    with ThreadPoolExecutor(1) as pool:

        async def ask() -> None:
            tasks = await queued(computer)
            behind = pool.submit(computer.batcher.in_background, computer.work("background", 0))
            while not computer.batcher.waiting:
                await asyncio.sleep(0.001)
            tasks.append(asyncio.create_task(computer.batcher(computer.work("request", 1))))
            while computer.batcher.waiting < 2:
                await asyncio.sleep(0.001)
            computer.go.set()
            await asyncio.gather(*tasks)
            assert await asyncio.wrap_future(behind) == "background0"

        asyncio.run(ask())
    assert computer.calls == [[1], [0]]


def test_a_full_queue_refuses(made: Any) -> None:
    computer = made(queue=2)

    async def ask() -> None:
        tasks = await queued(computer, computer.work("a", 0), computer.work("a", 1))
        with pytest.raises(RefusedError) as refused:
            await computer.batcher(computer.work("a", 2))
        assert (refused.value.status, refused.value.code) == (429, "busy")
        assert refused.value.retry_after >= 1
        computer.go.set()
        await asyncio.gather(*tasks)

    asyncio.run(ask())


def test_closing_finishes_what_was_taken_on(made: Any) -> None:
    computer = made()

    async def ask() -> list[Any]:
        tasks = await queued(computer, *(computer.work("a", at) for at in range(3)))
        closing = asyncio.create_task(asyncio.to_thread(computer.batcher.close))
        await asyncio.sleep(0.02)
        with pytest.raises(RefusedError, match="stopping"):
            await computer.batcher(computer.work("a", 3))
        computer.go.set()
        await closing
        return await asyncio.gather(*tasks[1:])

    assert asyncio.run(ask()) == ["a0", "a1", "a2"]
