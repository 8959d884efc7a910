"""A server in a process of its own, a client that keeps its connection, and pictures to send."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from PIL import Image, ImageDraw

__all__ = ["Client", "Served", "bundle", "examples", "picture"]

SIDE = 28


def bundle(folder: Path, seed: int = 0, name: str = "characters", method: str = "protonet") -> Path:
    """A bundle of Conv-4 on 28x28 grey images, its weights drawn by the seed: what is measured is not how well it knows
    characters."""
    from quickstudy.bundle import Bundle
    from quickstudy.core.settings import load
    from quickstudy.encoders import ImageEncoder
    from quickstudy.train.parts import Parts

    item = (1, SIDE, SIDE)
    parts = Parts(load("method", method), load("net", "conv4"), item, 5)
    made = Bundle(parts.build(seed), ImageEncoder(item=item), name=name, outputs=5, parts=parts)
    made.save(folder, replace=True)
    return folder


def picture(character: int, writer: int) -> str:
    """A character of a few strokes as one writer draws it: a PNG file in base64."""
    strokes, hand = random.Random(character), random.Random(f"{character} {writer}")
    image = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        points = [(strokes.uniform(4, 24) + hand.gauss(0, 1), strokes.uniform(4, 24) + hand.gauss(0, 1)) for _ in "123"]
        pen.line(points, fill=0, width=2)
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def examples(learner: int, ways: int, shots: int) -> list[dict[str, str]]:
    """The support of a learner: characters of its own, named by their numbers."""
    characters = [learner * ways + way for way in range(ways)]
    return [{"class": str(each), "image": picture(each, shot)} for each in characters for shot in range(shots)]


class Client:
    """One connection to the server, made again when it breaks."""

    def __init__(self, port: int, key: str | None = None, timeout: float = 60) -> None:
        self._port, self._timeout = port, timeout
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._line: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: Any = None, kind: str | None = None) -> tuple[int, Any]:
        """Status and answer; a body that is text or bytes is sent as it is, of the type `kind` or as JSON.

        Raises:
            OSError: the connection broke: whether the request was done is not known.
        """
        if self._line is None:
            self._line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
        try:
            content = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
            headers = self._headers if kind is None else {**self._headers, "Content-Type": kind}
            self._line.request(method, path, content, headers)
            answer = self._line.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(str(error)) from error
        kind = answer.headers.get_content_type()
        return answer.status, json.loads(said) if kind == "application/json" else said

    def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._line.close()
            self._line = None


class Served:
    """`quickstudy serve` in a process of its own, on a free port of 127.0.0.1."""

    def __init__(self, bundles: Sequence[Path], db: str, folder: Path, *flags: str, **environment: str) -> None:
        self.port = _free_port()
        self._log = folder / "server.log"
        words = ["serve", *map(str, bundles), "--db", db, "--versions", str(folder / "versions")]
        self._command = [sys.executable, "-m", "quickstudy", *words, "--port", str(self.port), *flags]
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self, patience: float = 120) -> None:
        """Start it, and return when it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)
        until = time.monotonic() + patience
        client = Client(self.port, timeout=5)
        while True:
            try:
                if client.ask("GET", "/readyz")[0] == 200:
                    client.close()
                    return
            except OSError:
                pass
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server does not start:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def refused(self, patience: float = 120) -> str:
        """Start it where it must refuse to; what it says."""
        done = subprocess.run(
            self._command, capture_output=True, text=True, env=self._environment, timeout=patience, check=False
        )
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        return done.stderr

    def kill(self) -> None:
        """End it at once, as a power cut would end the process."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it finish what it accepted."""
        self._end(signal.SIGTERM)

    def client(self, key: str | None = None) -> Client:
        """A connection of its own."""
        return Client(self.port, key)

    def memory(self) -> dict[str, float]:
        """Megabytes resident, now and at most."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = dict(line.split(":", 1) for line in status.splitlines())
        return {name: int(found[field].split()[0]) / 1024 for name, field in (("now", "VmRSS"), ("most", "VmHWM"))}

    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise
            self._process = None


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
