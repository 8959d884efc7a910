"""What the server tells of itself: logs without secrets, metrics, the OpenAPI document and its page."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from serve.asking import TWO, Running, bundle, in_base64, noise, row, rows

pytest.importorskip("fastapi", reason="fastapi comes with the extra `serve`")
pytest.importorskip("prometheus_client", reason="prometheus_client comes with the extra `serve`")

from quickstudy.serve import examples, logs, wire


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("server"), bundle(), bundle("image"), bundle("text"), keys=True)
    running.start()
    running.key = running.store.add_key("alice")
    yield running
    running.stop()


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged meanwhile."""
    stream = io.StringIO()
    names = ("quickstudy.serve", "uvicorn", "uvicorn.error", "uvicorn.access")
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level) for name in names}
    logs.set_up(stream, "DEBUG")
    yield stream
    for name, (handlers, level) in before.items():
        logging.getLogger(name).handlers, logging.getLogger(name).disabled = handlers, False
        logging.getLogger(name).setLevel(level)


def test_logs_hold_nothing_that_was_sent(server: Running, logged: io.StringIO) -> None:
    marks = ["Zebra", "Quagga", "31337.25", "platypus", "my-own-name"]
    learner = server.create(rows(Zebra=[(31337.25, 1, 2)], Quagga=[(1, 2, 3)]), name="my-own-name")
    path = f"/v1/learners/{learner['id']}"
    server.predict(learner["id"], row(31337.25, 0, 0))
    server.ask("DELETE", f"{path}/classes/Zebra")
    server.ask("POST", f"{path}/examples", {"examples": rows(Quokka=[(31337.25, 0, 0)])})
    server.ask("DELETE", f"{path}/classes/Quagga")
    server.ask("POST", f"{path}/predict", {"inputs": [{"text": "platypus"}]})
    server.ask("POST", f"{path}/predict", '{"inputs": platypus}')
    server.ask("GET", f"/v1/platypus?q={server.key}")
    server.ask("GET", "/v1/learners", key="platypus")
    picture = in_base64(noise())
    server.ask("POST", "/v1/learners", {"model": "image", "examples": [{"class": "Zebra", "image": picture}]})
    text = logged.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]
    assert sum(line["event"] == "request" for line in lines) == 10
    for mark in [*marks, "Quokka", picture[:40], server.key, server.key[-20:], learner["id"]]:
        assert mark not in text, f"{mark} is in the logs"
    done = next(line for line in lines if line.get("route") == "/v1/learners/{id}/predict")
    assert (done["method"], done["status"], done["tenant"]) == ("POST", 200, "alice")
    assert re.fullmatch("[0-9a-f]{16}", done["request"])


def test_an_unforeseen_error_is_told_without_its_text(
    server: Running, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("the secret platypus")

    monkeypatch.setattr(server.app.service, "page", broken)
    answer = server.ask("GET", "/v1/learners")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert answer.headers["x-request-id"] in answer.body["error"]["message"]
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    (failure,) = [line for line in lines if line["event"] == "unforeseen_error"]
    assert (failure["error"], failure["request"]) == ("ZeroDivisionError", answer.headers["x-request-id"])
    assert any("broken" in place for place in failure["at"])
    assert "platypus" not in logged.getvalue() + json.dumps(answer.body)


def test_metrics_count_what_happened(server: Running) -> None:
    def value(line: str) -> float:
        text = server.ask("GET", "/metrics").body.decode()
        found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    predicts = 'quickstudy_requests_total{method="POST",route="/v1/learners/{id}/predict",status="200"}'
    refused = 'quickstudy_refusals_total{code="invalid_json"}'
    before = value(predicts), value(refused), value('quickstudy_batch_size_sum{work="predict"}')
    learner = server.create(TWO)
    for _ in range(3):
        server.predict(learner["id"], row(1, 2, 3))
    server.ask("POST", "/v1/learners", "{")
    assert value(predicts) - before[0] == 3
    assert value(refused) - before[1] == 1
    assert value('quickstudy_batch_size_sum{work="predict"}') - before[2] == 3
    assert value("quickstudy_requests_under_way") == 1  # the one that asks
    assert value("quickstudy_cached_learners") >= 1
    version = server.ask("GET", "/v1/models/vector").body["version"]
    assert value(f'quickstudy_model_loaded{{model="vector",newest="yes",version="{version}"}}') == 1


def test_answers_carry_a_number_and_are_not_stored(server: Running) -> None:
    first, second = (server.ask("GET", "/v1/models").headers for _ in range(2))
    assert first["x-request-id"] != second["x-request-id"]
    assert (first["cache-control"], first["x-content-type-options"]) == ("no-store", "nosniff")


def test_every_address_is_documented_with_an_example(server: Running) -> None:
    document = server.ask("GET", "/openapi.json").body
    assert len(document["paths"]) == 14
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            assert told["summary"], (method, path)
            assert ("security" in told) == path.startswith("/v1/"), (method, path)
            for status, answer in told["responses"].items():
                shape = answer.get("content", {}).get("application/json")
                assert shape is None or "schema" in shape, (method, path, status)
                if shape and int(status) < 300:
                    assert "example" in shape, (method, path)
            if "requestBody" in told:
                content = told["requestBody"]["content"]
                assert content["application/json"]["examples"], (method, path)
                assert "multipart/form-data" in content, (method, path)
    text = json.dumps(document)
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in document["components"]["schemas"]


def test_examples_are_what_they_say() -> None:
    for shape, given in (
        (wire.CreateRequest, examples._CREATES),
        (wire.AddRequest, examples._ADDS),
        (wire.PredictRequest, examples._ASKS),
    ):
        for body in given.values():
            shape.model_validate_json(json.dumps(body))
    wire.LearnerAnswer.model_validate(examples._LEARNER)
    wire.ModelAnswer.model_validate(examples._MODEL)
    wire.Predicted.model_validate(examples._SAID)


def test_answers_are_as_documented(server: Running) -> None:
    learner = server.create(TWO)
    path = f"/v1/learners/{learner['id']}"
    for shape, method, address, body in (
        (wire.ModelPage, "GET", "/v1/models", None),
        (wire.ModelAnswer, "GET", "/v1/models/vector", None),
        (wire.LearnerAnswer, "GET", path, None),
        (wire.LearnerPage, "GET", "/v1/learners", None),
        (wire.LearnerAnswer, "POST", f"{path}/examples", {"examples": TWO}),
        (wire.LearnerAnswer, "POST", f"{path}/readapt", None),
        (wire.PredictAnswer, "POST", f"{path}/predict", {"inputs": [row(1, 2, 3)]}),
        (wire.Ready, "GET", "/readyz", None),
        (wire.Error, "GET", "/v1/learners/none", None),
    ):
        answer = server.ask(method, address, body)
        read = shape.model_validate(answer.body, extra="forbid")
        assert json.loads(read.model_dump_json(by_alias=True)).keys() == answer.body.keys()


def test_examples_of_images_and_texts_are_accepted_as_they_stand(server: Running) -> None:
    for name, model in (("images", "image"), ("vectors, examples forgotten", "vector"), ("texts", "text")):
        body = {**examples._CREATES[name], "model": model}
        made = server.ask("POST", "/v1/learners", body)
        assert made.status == 201, made
        asked = examples._ASKS[name.partition(",")[0]]
        assert server.ask("POST", f"/v1/learners/{made.body['id']}/predict", asked).status == 200


def test_the_interface_page_shows_every_address(server: Running) -> None:
    answer = server.ask("GET", "/docs")
    page = answer.body.decode()
    for path in server.ask("GET", "/openapi.json").body["paths"]:
        assert path in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
