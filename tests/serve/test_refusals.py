"""Requests that cannot be done: each is refused with its own code, in the one form, and never with a 500."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from serve.asking import TWO, Running, bundle, form, in_base64, noise, row, rows

for needed in ("fastapi", "uvicorn", "sqlalchemy", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason=f"{needed} comes with the extra `serve`")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    from quickstudy.serve.settings import Limits

    limits = Limits(body=0.25, image=0.05, megapixels=0.01, text=50, examples=12, classes=4, inputs=5, name=20)
    made = [bundle(), bundle("image"), bundle("text"), bundle(method="maml", name="fixed")]
    running = Running(tmp_path_factory.mktemp("server"), *made, limits=limits)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def learner(server: Running) -> str:
    return str(server.create(TWO)["id"])


def labelled(**changes: Any) -> dict[str, Any]:
    return {"class": "x", "vector": [1, 2, 3]} | changes


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in labelled().items() if key != name}


def body(*examples: Any, **more: Any) -> dict[str, Any]:
    return {"model": "vector", "examples": [*TWO, *examples]} | more


def bomb(width: int, height: int) -> bytes:
    """A PNG file of some bytes that claims to be huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def gif() -> bytes:
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "GIF")
    return content.getvalue()


def pictures(content: bytes | str) -> dict[str, Any]:
    image = content if isinstance(content, str) else in_base64(content)
    return {"model": "image", "examples": [{"class": "a", "image": in_base64(noise())}, {"class": "b", "image": image}]}


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


CREATES: dict[str, tuple[Any, int, str]] = {
    "no JSON": ("{", 400, "invalid_json"),
    "nothing": ("", 400, "invalid_json"),
    "no UTF-8": (b'{"model": "\xff"}', 400, "invalid_json"),
    "half a character": ('{"model": "vector", "name": "\\ud800", "examples": []}', 400, "invalid_json"),
    "very deep": (nested(100_000), 400, "invalid_json"),
    "a list": ("[]", 422, "invalid_request"),
    "null": ("null", 422, "invalid_request"),
    "no model": ({"examples": TWO}, 422, "invalid_request"),
    "no examples": ({"model": "vector"}, 422, "invalid_request"),
    "empty examples": ({"model": "vector", "examples": []}, 422, "invalid_request"),
    "one class": ({"model": "vector", "examples": TWO[:2]}, 422, "invalid_request"),
    "unknown model": (body(model="nothing"), 404, "not_found"),
    "unknown field": (body(ways=3), 422, "invalid_request"),
    "model no text": (body(model=3), 422, "invalid_request"),
    "keep no switch": (body(keep="yes"), 422, "invalid_request"),
    "long name": (body(name="n" * 21), 422, "invalid_request"),
    "no class": (body(without("class")), 422, "invalid_request"),
    "empty class": (body(labelled(**{"class": ""})), 422, "invalid_request"),
    "blank class": (body(labelled(**{"class": " \t\n"})), 422, "invalid_request"),
    "long class": (body(labelled(**{"class": "c" * 21})), 422, "invalid_request"),
    "zero in class": (body(labelled(**{"class": "a\0b"})), 422, "invalid_request"),
    "line break in class": (body(labelled(**{"class": "a\nb"})), 422, "invalid_request"),
    "class no text": (body(labelled(**{"class": 7})), 422, "invalid_request"),
    "no content": (body(without("vector")), 422, "invalid_request"),
    "two contents": (body(labelled(text="t")), 422, "invalid_request"),
    "another kind": (body({"class": "x", "text": "t"}), 422, "invalid_request"),
    "mixed kinds": (body({"class": "x", "image": in_base64(noise())}), 422, "invalid_request"),
    "too few numbers": (body(labelled(vector=[1, 2])), 422, "invalid_request"),
    "too many numbers": (body(labelled(vector=[1] * 4)), 422, "invalid_request"),
    "no numbers": (body(labelled(vector=[])), 422, "invalid_request"),
    "vector no list": (body(labelled(vector=3)), 422, "invalid_request"),
    "text for a number": (body(labelled(vector=[1, 2, "3"])), 422, "invalid_request"),
    "null for a number": (body(labelled(vector=[1, 2, None])), 422, "invalid_request"),
    "a switch for a number": (body(labelled(vector=[1, 2, True])), 422, "invalid_request"),
    "an object for a number": (body(labelled(vector=[1, 2, {}])), 422, "invalid_request"),
    "ragged": (body(labelled(vector=[[1], [2, 3]])), 422, "unreadable_input"),
    "another shape": (body(labelled(vector=[[1, 2, 3]])), 422, "unreadable_input"),
    "NaN": (json.dumps(body(labelled(vector=[1, 2, float("nan")]))), 422, "unreadable_input"),
    "infinite": (json.dumps(body(labelled(vector=[1, 2, float("inf")]))), 422, "unreadable_input"),
    "beyond float64": (json.dumps(body(labelled(vector=[1, 2, 0.5]))).replace("0.5", "1e400"), 422, "unreadable_input"),
    "beyond float32": (body(labelled(vector=[1, 2, 1e39])), 422, "unreadable_input"),
    "a huge whole number": (body(labelled(vector=[1, 2, 10**400])), 422, "unreadable_input"),
    "no base64": (pictures("not base64!"), 422, "unreadable_input"),
    "empty image": (pictures(b""), 422, "unreadable_input"),
    "no image": (pictures(b"%PDF-1.4"), 422, "unreadable_input"),
    "another format": (pictures(gif()), 422, "unreadable_input"),
    "a cut image": (pictures(noise(side=64)[:-200]), 422, "unreadable_input"),
    "a large image file": (pictures(noise(side=250)), 413, "too_large"),
    "a bomb": (pictures(bomb(60_000, 60_000)), 413, "too_large"),
    "a thin bomb": (pictures(bomb(2**31 - 1, 1)), 413, "too_large"),
    "no pixels": (pictures(bomb(0, 5)), 422, "unreadable_input"),
    "pixels that are not there": (pictures(bomb(90, 90)), 422, "unreadable_input"),
    "long text": ({"model": "text", "examples": [{"class": "a", "text": "t" * 51}] * 2}, 413, "too_large"),
    "blank text": ({"model": "text", "examples": [{"class": "a", "text": " "}] * 2}, 422, "invalid_request"),
    "too many examples": (body(*[labelled()] * 10), 413, "too_large"),
    "too many classes": (body(*rows(a=[(1, 2, 3)], b=[(1, 2, 3)], c=[(1, 2, 3)])), 413, "too_large"),
    "more ways than trained": (body(*rows(a=[(1, 2, 3)], b=[(1, 2, 3)]), model="fixed"), 422, "invalid_request"),
    "a large body": (" " * 300_000, 413, "too_large"),
}


@pytest.mark.parametrize("name", CREATES)
def test_what_makes_no_learner(server: Running, name: str) -> None:
    asked, status, code = CREATES[name]
    answer = server.ask("POST", "/v1/learners", asked)
    assert (answer.status, answer.code) == (status, code), answer.body


PREDICTS: dict[str, tuple[Any, int, str]] = {
    "no inputs": ({}, 422, "invalid_request"),
    "empty inputs": ({"inputs": []}, 422, "invalid_request"),
    "too many inputs": ({"inputs": [row(1, 2, 3)] * 6}, 413, "too_large"),
    "another kind": ({"inputs": [{"text": "t"}]}, 422, "invalid_request"),
    "a label": ({"inputs": [labelled()]}, 422, "invalid_request"),
    "numbers too large to square": ({"inputs": [row(1e38, -1e38, 1e38)]}, 422, "not_finite"),
}


@pytest.mark.parametrize("name", PREDICTS)
def test_what_cannot_be_predicted(server: Running, learner: str, name: str) -> None:
    asked, status, code = PREDICTS[name]
    answer = server.ask("POST", f"/v1/learners/{learner}/predict", asked)
    assert (answer.status, answer.code) == (status, code), answer.body


def test_adding_is_held_to_the_same_limits(server: Running, learner: str) -> None:
    path = f"/v1/learners/{learner}/examples"
    assert server.ask("POST", path, {"examples": [labelled()] * 10}).code == "too_large"
    assert server.ask("POST", path, {"examples": [labelled(vector=[1])]}).code == "invalid_request"
    many = rows(a=[(1, 2, 3)], b=[(1, 2, 3)], c=[(1, 2, 3)])
    assert server.ask("POST", path, {"examples": many}).code == "too_large"
    assert server.ask("GET", f"/v1/learners/{learner}").body["classes"][0]["examples"] == 2


FORMS: dict[str, tuple[str, bytes, int, str]] = {
    "no boundary": ("multipart/form-data", b"", 422, "invalid_request"),
    "cut off": (*form(("model", b"vector", False))[:1], form(("model", b"vector", False))[1][:-9], 400, "invalid_form"),
    "no form at all": ("multipart/form-data; boundary=b", b"hello", 400, "invalid_form"),
    "no files": (*form(("model", b"vector", False)), 422, "invalid_request"),
    "unknown field": (*form(("model", b"vector", False), ("ways", b"2", False)), 422, "invalid_request"),
    "keep no switch": (*form(("model", b"vector", False), ("keep", b"perhaps", False)), 422, "invalid_request"),
    "field not UTF-8": (*form(("model", b"\xff", False)), 422, "invalid_request"),
    "a class without a name": (*form(("model", b"vector", False), ("", b"[1,2,3]", True)), 422, "invalid_request"),
    "a file that is no array": (
        *form(("model", b"vector", False), ("a", b"1,2,3", True), ("b", b"[1,2,3]", True)),
        422,
        "invalid_request",
    ),
    "a text that is no UTF-8": (
        *form(("model", b"text", False), ("a", b"\xff\xfe", True), ("b", b"b", True)),
        422,
        "invalid_request",
    ),
    "too many files": (
        *form(("model", b"vector", False), *[("a", b"[1,2,3]", True)] * 13),
        413,
        "too_large",
    ),
    "another type": ("text/csv", b"1,2,3", 415, "unsupported_media_type"),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_that_make_no_learner(server: Running, name: str) -> None:
    kind, content, status, code = FORMS[name]
    answer = server.ask("POST", "/v1/learners", content, kind=kind)
    assert (answer.status, answer.code) == (status, code), answer.body


def test_files_to_recognise_come_in_one_field(server: Running, learner: str) -> None:
    kind, content = form(("cat", b"[1,2,3]", True))
    assert server.ask("POST", f"/v1/learners/{learner}/predict", content, kind=kind).code == "invalid_request"


@pytest.mark.parametrize("id", ["0" * 32, "nobody", "0" * 31 + "G", "%00", "..%2F..", "é" * 8, "0" * 5000])
def test_ids_that_nobody_has(server: Running, id: str) -> None:
    from urllib.parse import quote

    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/export"), ("POST", "/readapt")):
        assert server.ask(method, f"/v1/learners/{quote(id, safe='%')}{rest}").code == "not_found"


def test_queries_out_of_range(server: Running) -> None:
    for query in ("limit=0", "limit=1001", "limit=x", f"after={'a' * 65}"):
        assert server.ask("GET", f"/v1/learners?{query}").code == "invalid_request"


def test_addresses_and_methods_that_there_are_not(server: Running) -> None:
    assert server.ask("GET", "/v2").code == "not_found"
    assert server.ask("GET", "/v1/learners/a/b/c").code == "not_found"
    assert server.ask("PUT", "/v1/learners", {}).code == "method_not_allowed"
    assert server.ask("GET", "/page/../app.py").code == "not_found"
    assert server.ask("GET", "/page/%2e%2e/app.py").code == "not_found"


def test_messages_say_where_and_what(server: Running) -> None:
    answer = server.ask("POST", "/v1/learners", body(labelled(vector=[1, 2])))
    assert answer.body["error"]["message"] == "Input 3 has 2 numbers; this model takes 3. Send as many."
    answer = server.ask("POST", "/v1/learners", body(keep=3))
    assert answer.body["error"]["message"].startswith("Keep: input should be a valid boolean, got 3.")
