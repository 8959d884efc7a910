"""Downloads from a server on loopback that cuts off, corrupts, refuses, and forgets how to resume."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from quickstudy.errors import DataError
from quickstudy.tasks import download as module
from quickstudy.tasks.download import download, watch

CONTENT = np.random.default_rng(0).bytes(1_000_003)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT as `plan` says: one word a request, then properly."""

    plan: list[str]
    ranges: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/some/data.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        word = self.server.plan.pop(0) if self.server.plan else "whole"
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and word != "ignore range" else 0
        if word.isdigit():
            return self.send_error(int(word))
        if start >= len(CONTENT):
            return self.send_error(416)
        body = CONTENT[start:]
        if word == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(206 if start else 200)
        if word != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write({"cut": body[:400_000], "nothing": b"", "short": body[:3]}.get(word, body))
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.plan, made.ranges = [], []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def fetch(server: Server, folder: Path, tries: int = 3) -> bytes:
    return download(server.url, MD5, folder=folder, tries=tries, wait=0.001, timeout=5).read_bytes()


def test_a_whole_file_is_fetched_once(server: Server, tmp_path: Path):
    assert fetch(server, tmp_path) == CONTENT
    assert fetch(server, tmp_path) == CONTENT
    assert server.ranges == [None]
    assert files(tmp_path) == ["data.bin"]


def test_the_cache_folder_is_the_default(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path))
    assert download(server.url, MD5) == tmp_path / "downloads" / "data.bin"


def test_a_cut_off_transfer_goes_on_where_it_stopped(server: Server, tmp_path: Path):
    server.plan = ["cut", "nothing", "cut"]
    assert fetch(server, tmp_path) == CONTENT
    assert server.ranges == [None, "bytes=400000-", "bytes=400000-", "bytes=800000-"]


def test_a_later_run_goes_on_too(server: Server, tmp_path: Path):
    server.plan = ["cut", "nothing", "503"]
    with pytest.raises(DataError, match=r"could not be fetched: 503 .*\(2 tries in a row; 400000 bytes are kept\)"):
        fetch(server, tmp_path, tries=2)
    assert files(tmp_path) == ["data.bin.part"]
    assert fetch(server, tmp_path) == CONTENT
    assert server.ranges[-1] == "bytes=400000-"


def test_progress_however_slow_is_no_failure(server: Server, tmp_path: Path):
    server.plan = ["short"] * 8
    assert fetch(server, tmp_path, tries=2) == CONTENT
    assert server.ranges[-1] == "bytes=24-"


def test_a_server_that_ignores_ranges(server: Server, tmp_path: Path):
    server.plan = ["cut", "ignore range"]
    assert fetch(server, tmp_path) == CONTENT


def test_a_server_that_tells_no_length(server: Server, tmp_path: Path):
    server.plan = ["no length"]
    assert fetch(server, tmp_path) == CONTENT


def test_a_corrupted_file_is_refused_and_forgotten(server: Server, tmp_path: Path):
    server.plan = ["corrupt"]
    with pytest.raises(DataError, match=f"sent a file with MD5 [0-9a-f]{{32}}; the published one is {MD5}.*place the"):
        fetch(server, tmp_path)
    assert files(tmp_path) == []
    assert fetch(server, tmp_path) == CONTENT


@pytest.mark.parametrize("left", [b"\0" * 1000, b"\0" * len(CONTENT), CONTENT + b"more"])
def test_a_damaged_part_is_fetched_anew(server: Server, tmp_path: Path, left: bytes):
    (tmp_path / "data.bin.part").write_bytes(left)
    assert fetch(server, tmp_path) == CONTENT
    assert server.ranges == [f"bytes={len(left)}-", None]


def test_a_complete_part_only_needs_its_name(server: Server, tmp_path: Path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path) == CONTENT


def test_a_damaged_file_in_the_cache_is_replaced(server: Server, tmp_path: Path):
    (tmp_path / "data.bin").write_bytes(CONTENT[:-1])
    assert fetch(server, tmp_path) == CONTENT


def test_a_refusal_is_not_repeated(server: Server, tmp_path: Path):
    server.plan = ["404"]
    with pytest.raises(DataError, match=r"data\.bin answered 404 Not Found.*QUICKSTUDY_DATA"):
        fetch(server, tmp_path)
    assert len(server.ranges) == 1


def test_no_server_at_all(tmp_path: Path, server: Server):
    unused = Server(("127.0.0.1", 0), Handler)
    url = unused.url
    unused.server_close()
    with pytest.raises(DataError, match=r"could not be fetched: .*refused.*\(2 tries in a row; 0 bytes are kept\)"):
        download(url, MD5, folder=tmp_path, tries=2, wait=0.001)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*QUICKSTUDY_CACHE"):
        fetch(server, tmp_path / "file")


def test_of_many_at_once_one_fetches(server: Server, tmp_path: Path):
    server.plan = ["cut"]
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(fetch(server, tmp_path, tries=9))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [CONTENT] * 6
    assert server.ranges == [None, "bytes=400000-"]


def test_progress_is_told(server: Server, tmp_path: Path):
    server.plan = ["cut"]
    told: list[tuple[str, int, int | None]] = []
    with watch(lambda name, done, total: told.append((name, done, total))):
        fetch(server, tmp_path)
    assert {(name, total) for name, _, total in told} == {("data.bin", len(CONTENT))}
    done = [n for _, n, _ in told]
    assert done == sorted(done)
    assert done[-1] == len(CONTENT)
    assert module._watcher.get() is None
