"""What is asked most passes the framework by, and comes to the same: answers, refusals, headers, logs and counts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from serve.asking import TWO, Running, row

for needed in ("fastapi", "uvicorn", "sqlalchemy", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason=f"{needed} comes with the extra `serve`")

NOTHING = "0" * 32
ASKS: dict[str, tuple[str, Any]] = {
    "a learner": ("/v1/learners", {"model": "vector", "examples": TWO}),
    "no such model": ("/v1/learners", {"model": "none", "examples": TWO}),
    "one class": ("/v1/learners", {"model": "vector", "examples": TWO[:1]}),
    "no JSON": ("/v1/learners", "{"),
    "a prediction": ("/v1/learners/{id}/predict", {"inputs": [row(1, 2, 3)]}),
    "another kind": ("/v1/learners/{id}/predict", {"inputs": [{"text": "a"}]}),
    "no such learner": (f"/v1/learners/{NOTHING}/predict", {"inputs": [row(1, 2, 3)]}),
    "no id": ("/v1/learners/nobody/predict", {"inputs": [row(1, 2, 3)]}),
}


def asked(app: Any, path: str, body: Any, root: str = "", **headers: str) -> tuple[int, Any, dict[str, str]]:
    """Status, answer and headers of a POST, without a network between."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    sent: list[dict[str, Any]] = []
    given = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(content)), **headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": root + path,
        "raw_path": (root + path).encode(),
        "root_path": root,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    asyncio.run(app(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], json.loads(b"".join(each.get("body", b"") for each in sent[1:])), told


def lasting(value: Any) -> Any:
    """An answer without what is new in each."""
    return {name: each for name, each in value.items() if name not in ("id", "created", "updated")}


@pytest.mark.parametrize("ask", ASKS)
def test_both_ways_come_to_the_same(
    ask: str, serve: Callable[..., Running], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    id = server.create(TWO)["id"]
    app = server._server.config.app
    path, body = ASKS[ask]
    path = path.format(id=id)
    monkeypatch.setattr(logging.getLogger("quickstudy.serve"), "propagate", True)
    app.direct, direct = None, app.direct
    with pytest.raises(TypeError):  # it is this that takes it
        asked(app, path, body)
    app.direct = direct
    with caplog.at_level(logging.INFO, "quickstudy.serve"):
        short, long = asked(app, path, body), asked(app, path, body, root="/behind")
    assert short[0] == long[0]
    assert lasting(short[1]) == lasting(long[1])
    assert short[2].keys() == long[2].keys()
    for name in ("content-type", "cache-control", "x-content-type-options", "referrer-policy"):
        assert short[2][name] == long[2][name]
    lines: list[Any] = [vars(each)["fields"] for each in caplog.records if each.getMessage() == "request"]
    # by their ids: the request before, which made the learner, has a line too
    of = {
        line["request"]: {name: each for name, each in line.items() if name not in ("ms", "request")} for line in lines
    }
    told = of[short[2]["x-request-id"]]
    assert told == of[long[2]["x-request-id"]]
    assert told["route"] == ("/v1/learners" if path == "/v1/learners" else "/v1/learners/{id}/predict")


def test_an_unforeseen_error_has_its_answer_too(serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()

    async def fail(*values: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(server.app.service, "predict", fail)
    status, said, _ = asked(server._server.config.app, f"/v1/learners/{NOTHING}/predict", {"inputs": [row(1, 2, 3)]})
    assert (status, said["error"]["code"]) == (500, "internal_error")
    assert "secret" not in said["error"]["message"]


def test_other_sites_are_refused_here_too(serve: Callable[..., Running]) -> None:
    app = serve(hosts=("127.0.0.1",))._server.config.app
    body = {"model": "vector", "examples": TWO}
    assert asked(app, "/v1/learners", body)[0] == 201
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        status, said, _ = asked(app, "/v1/learners", body, **headers)
        assert (status, said["error"]["code"]) == (403, "foreign_site")
