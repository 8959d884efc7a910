"""`quickstudy serve`: what it refuses, and several processes on one port and one database."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from quickstudy.cli import main
from serve.asking import TWO, bundle, row

for needed in ("fastapi", "uvicorn", "sqlalchemy", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason=f"{needed} comes with the extra `serve`")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "vector"
    bundle().save(folder)
    return folder


@contextmanager
def serving(folder: Path, *words: str, ready: bool = True) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """`quickstudy serve` in a process of its own: its port, when it is ready, and the process."""
    command = [sys.executable, "-m", "quickstudy", "serve", *words, "--port", "0"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        said = re.search(r":(\d+)", process.stdout.readline())
        assert said, "it does not start"
        port = int(said[1])
        until = time.monotonic() + 60
        while ready and ask(port, "GET", "/readyz")[0] != 200:
            assert time.monotonic() < until, "it does not become ready"
            time.sleep(0.05)
        yield port, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        line.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = line.getresponse()
        content = answer.read()
    except OSError:
        return 0, None
    finally:
        line.close()
    return answer.status, json.loads(content) if answer.headers.get_content_type() == "application/json" else content


def test_several_processes_serve_together(tmp_path: Path, model: Path) -> None:
    with serving(tmp_path, str(model), "--workers", "2") as (port, process):
        status, learner = ask(port, "POST", "/v1/learners", {"model": "vector", "examples": TWO})
        assert status == 201
        path = f"/v1/learners/{learner['id']}"
        seen = set()
        for number in range(12):  # whichever process answers, it knows the last change
            name = f"class {number}"
            added = {"examples": [{"class": name, "vector": [number, 9, 9]}]}
            assert ask(port, "POST", f"{path}/examples", added)[0] == 200
            status, said = ask(port, "POST", f"{path}/predict", {"inputs": [row(1, 2, 3)]})
            assert status == 200
            assert name in said["predictions"][0]["probabilities"]
        counted = ask(port, "GET", "/metrics")[1].decode()
        for line in counted.splitlines():
            if line.startswith("quickstudy_requests_total") and "/predict" in line:
                seen.add(float(line.split()[-1]))
        assert seen == {12.0}, "metrics of all processes are added up"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert (tmp_path / "learners.db").exists()
    assert list((tmp_path / "versions" / "vector").iterdir())


def test_https_as_uvicorn_speaks_it(tmp_path: Path, model: Path) -> None:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("there is no openssl to make a certificate with")
    made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([openssl, *made, *names], cwd=tmp_path, check=True, capture_output=True)
    words = ("--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem")
    trusted = ssl.create_default_context()
    with serving(tmp_path, str(model), *words, ready=False) as (port, _):
        trusted.load_verify_locations(tmp_path / "cert.pem")
        line = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=trusted)
        until = time.monotonic() + 60
        while True:
            try:
                line.request("GET", "/readyz")
                with line.getresponse() as answer:
                    assert (answer.status, json.load(answer)["ready"]) == (200, True)
                break
            except OSError:
                line.close()
                assert time.monotonic() < until, "it does not become ready"
                time.sleep(0.05)
        line.close()


def test_what_it_refuses_to_serve(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, told in (
            ([], "no bundle to serve"),
            ([str(model), "--host", "0.0.0.0"], "open the server to everybody"),
            ([str(model), "--port", port], "cannot listen"),
            ([str(model), "--port", "70000"], "cannot listen"),
            ([str(model), "--limits.body", "-1"], "body"),
            ([str(model), "--batch", "0"], "batch"),
            ([str(tmp_path / "nothing"), "--port", "0"], "nothing"),
            ([str(model), str(model), "--port", "0"], "both called"),
            ([str(model), "--port", "0", "--db", "mysql://x"], "mysql"),
        ):
            assert main(["serve", *words]) == 1, words
            assert told in capsys.readouterr().err


def test_its_help_names_every_limit(capsys: pytest.CaptureFixture[str]) -> None:
    from quickstudy.serve.settings import Limits

    assert main(["serve", "--help"]) == 0
    said = capsys.readouterr().out
    for name in Limits.__dataclass_fields__:
        assert f"--limits.{name}" in said
    for flag in ("--keys", "--workers", "--ssl-certfile", "--readapt", "--no-readapt", "--batch", "--wait"):
        assert flag in said
