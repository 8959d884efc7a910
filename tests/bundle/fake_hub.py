"""A Hugging Face hub on this machine: enough of its HTTP for a repository of models to be made, filled and read."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_test"


class Hub(ThreadingHTTPServer):
    """Repositories as lists of commits, each the files that there were."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.private: dict[str, bool] = {}
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        """A commit of these files beside those that were there."""
        commits = self.repositories.setdefault(name, [])
        whole = (commits[-1][1] if commits else {}) | files
        oid = hashlib.sha1(repr(sorted(whole.items())).encode()).hexdigest()
        commits.append((oid, whole))
        return oid

    def at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit that a revision means."""
        commits = self.repositories.get(name, [])
        found = commits[-1:] if revision == "main" else [each for each in commits if each[0] == revision]
        return found[0] if found else None


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does, as far as `quickstudy push` and `pull` ask."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests look at what came of it."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid credentials"})
        if self.path == "/api/repos/create":
            return self.create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        parts = self.path.split("/")  # /api/models/OWNER/NAME/preupload|commit/REVISION
        if parts[5] == "preupload":
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for path in files]
            return self.answer(200, {"files": modes})
        return self.add("/".join(parts[3:5]), body)

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.server.private:
            return self.answer(
                409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}
            )
        self.server.private[name] = bool(asked.get("private") or asked.get("visibility") == "private")
        self.server.commit(name, {".gitattributes": b"*.safetensors filter=lfs\n"})
        return self.answer(200, {"url": f"{self.server.url}/{name}", "name": name, "id": "0"})

    def add(self, name: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        oid = self.server.commit(name, files)
        url = f"{self.server.url}/{name}/commit/{oid}"
        return self.answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            revision = parts[5] if len(parts) > 5 else "main"
            found = self.server.at("/".join(parts[2:4]), revision)
            return self.missing("Repo") if found is None else self.info("/".join(parts[2:4]), *found)
        found = self.server.at("/".join(parts[:2]), parts[3])  # OWNER/NAME/resolve/REVISION/FILE
        if found is None or parts[4] not in found[1]:
            return self.missing("Entry")
        if self.command == "GET":
            self.server.fetched.append(parts[4])
        return self.file(found[0], found[1][parts[4]])

    def info(self, name: str, oid: str, files: dict[str, bytes]) -> None:
        siblings = [{"rfilename": path, "size": len(content), "blobId": "0"} for path, content in files.items()]
        self.answer(200, {"id": name, "modelId": name, "sha": oid, "siblings": siblings, "tags": [], "private": False})

    def file(self, oid: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", oid)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def missing(self, what: str) -> None:
        self.answer(404, {"error": f"{what} not found"}, {"X-Error-Code": f"{what}NotFound"})

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def running() -> Iterator[Hub]:
    """A hub for the length of a `with` block."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
