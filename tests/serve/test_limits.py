"""How often, how much, how long: what is over a limit is refused with the time to come again."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from serve.asking import TWO, Running, row

pytest.importorskip("fastapi", reason="fastapi comes with the extra `serve`")
pytest.importorskip("prometheus_client", reason="prometheus_client comes with the extra `serve`")

from quickstudy.serve.limits import Gate, Rates
from quickstudy.serve.refusals import RefusedError
from quickstudy.serve.settings import Limits, ServerSettings

QUERY = {"inputs": [row(1, 2, 3)]}


def refusal(call: Callable[[], Any]) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        call()
    return refused.value


def test_a_tenant_asks_no_more_often_than_its_rate() -> None:
    now = 0.0
    rates = Rates(2.0, 3, clock=lambda: now)
    for _ in range(3):
        rates.take("alice")
    told = refusal(lambda: rates.take("alice"))
    assert (told.status, told.code) == (429, "too_many_requests")
    assert told.retry_after == pytest.approx(0.5)
    rates.take("bob")  # another's bucket is full
    now = 0.49
    refusal(lambda: rates.take("alice"))
    now = 0.5
    rates.take("alice")
    now = 1000.0
    for _ in range(3):  # no more than the bucket holds, however long one waits
        rates.take("alice")
    refusal(lambda: rates.take("alice"))


def test_a_rate_of_zero_is_no_limit() -> None:
    rates = Rates(0.0, 1)
    for _ in range(1000):
        rates.take("alice")


def test_so_many_at_once_and_so_many_of_one_tenant() -> None:
    gate = Gate(4, 0.5)
    with gate.enter("alice"), gate.enter("alice"):
        told = refusal(lambda: gate.enter("alice").__enter__())
        assert (told.status, told.code) == (429, "busy")
        assert told.retry_after >= 1
        with gate.enter("bob"), gate.enter("carol"):
            assert gate.inside == 4
            assert refusal(lambda: gate.enter("dave").__enter__()).code == "busy"
    assert gate.inside == 0
    with gate.enter("alice"):
        assert gate.inside == 1


def test_a_rate_is_kept_over_http(serve: Any) -> None:
    server = serve(limits=Limits(rate=0.01, burst=2))
    assert [server.ask("GET", "/v1/models").status for _ in range(3)] == [200, 200, 429]
    answer = server.ask("GET", "/v1/models")
    assert answer.code == "too_many_requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 100
    assert server.ask("GET", "/healthz").status == 200


def test_a_body_is_read_no_further_than_its_limit(serve: Any) -> None:
    server = serve(limits=Limits(body=0.1))
    line = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = (
        "POST /v1/learners HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with line:
        line.sendall(head.encode())
        sent = 0
        try:
            while sent < 50_000_000:
                line.sendall(b"8000\r\n" + b" " * 0x8000 + b"\r\n")
                sent += 0x8000
        except OSError:  # hung up on
            pass
        assert sent < 5_000_000
    # Announced, it is not read at all.
    answer = server.ask("POST", "/v1/learners", b" " * 200_000)
    assert (answer.status, answer.code) == (413, "too_large")


def test_bodies_of_all_requests_share_their_memory(serve: Any) -> None:
    server = serve(limits=Limits(body=1, memory=1.5))
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    line.putrequest("POST", "/v1/learners")
    line.putheader("Content-Length", "1000000")
    line.endheaders()
    line.send(b" " * 999_000)
    until(lambda: server.app.bodies.held == 999_000)
    rest = server.settings.limits.memory_bytes - 999_000
    answer = server.ask("POST", "/v1/learners", b" " * (rest + 1))
    assert (answer.status, answer.code) == (429, "busy")
    line.send(b" " * 1000)
    with line.getresponse() as done:
        assert done.status == 400
        done.read()
    line.close()
    assert server.ask("POST", "/v1/learners", b" " * (rest + 1)).code == "invalid_json"
    assert server.app.bodies.held == 0


def test_a_slow_body_is_given_up(serve: Any) -> None:
    server = serve(limits=Limits(upload=0.2))
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    line.putrequest("POST", "/v1/learners")
    line.putheader("Content-Length", "100")
    line.endheaders()
    line.send(b"{")
    with line.getresponse() as answer:
        assert answer.status == 408
        answer.read()
    line.close()


class Held:
    """A server whose computing thread holds until it is let go."""

    def __init__(self, server: Running) -> None:
        from quickstudy.serve.batching import Work

        self.server, self.go, busy = server, threading.Event(), threading.Event()

        def call(items: list[Any]) -> list[Any]:
            busy.set()
            assert self.go.wait(60)
            return items

        self._thread = threading.Thread(target=server.app.batcher.in_background, args=(Work(("hold",), call, None),))
        self._thread.start()
        assert busy.wait(20)

    def release(self) -> None:
        self.go.set()
        self._thread.join()


def test_an_answer_that_takes_too_long_is_given_up(serve: Any) -> None:
    server = serve(limits=Limits(answer=0.3))
    id = server.create(TWO)["id"]
    held = Held(server)
    answer = server.ask("POST", f"/v1/learners/{id}/predict", QUERY)
    assert (answer.status, answer.code) == (503, "timeout")
    assert int(answer.headers["retry-after"]) >= 1
    held.release()
    assert server.ask("POST", f"/v1/learners/{id}/predict", QUERY).status == 200


def test_more_than_may_wait_are_asked_to_come_again(serve: Any) -> None:
    server = serve(limits=Limits(waiting=2))
    id = server.create(TWO)["id"]
    held = Held(server)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(server.ask("POST", f"/v1/learners/{id}/predict", QUERY).status)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for each in threads:
        each.start()
    until(lambda: server.app.gate.inside == 2)
    answer = server.ask("POST", f"/v1/learners/{id}/predict", QUERY)
    assert (answer.status, answer.code) == (429, "busy")
    assert int(answer.headers["retry-after"]) >= 1
    assert server.ask("GET", "/readyz").status == 200
    held.release()
    for each in threads:
        each.join()
    assert statuses == [200, 200]


def test_what_was_accepted_is_finished_before_the_server_stops(serve: Any) -> None:
    server = serve()
    id = server.create(TWO)["id"]
    held = Held(server)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(server.ask("POST", f"/v1/learners/{id}/predict", QUERY).status)

    def make() -> None:
        statuses.append(server.ask("POST", "/v1/learners", {"model": "vector", "examples": TWO}).status)

    threads = [threading.Thread(target=each) for each in (ask, make)]
    for each in threads:
        each.start()
    until(lambda: server.app.gate.inside == 2)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    time.sleep(0.1)
    held.release()
    for each in (*threads, stopping):
        each.join()
    assert sorted(statuses) == [200, 201]
    server.start()
    assert len(server.ask("GET", "/v1/learners").body["learners"]) == 2


def test_settings_travel_as_text() -> None:
    settings = ServerSettings(bundles=("a", "b"), keys=True, hosts=("x",), limits=Limits(rate=2.5, waiting=7))
    assert ServerSettings.from_json(settings.to_json()) == settings


def test_a_gate_counts_what_is_coming() -> None:
    gate = Gate(4, 1.0)
    with gate.coming():
        assert gate.expected() == 1
    assert gate.expected() == 0


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.01)


def test_cancelled_requests_leave_the_gate() -> None:
    gate = Gate(1, 1.0)

    async def inside() -> None:
        with gate.enter("alice"):
            await asyncio.sleep(60)

    async def cancelled() -> None:
        task = asyncio.create_task(inside())
        await asyncio.sleep(0)
        assert gate.inside == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert gate.inside == 0
