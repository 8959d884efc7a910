"""A real server for the tests of what people see of it: one thread of this process, on a free port of loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from quickstudy.bundle import Bundle
from quickstudy.core.settings import load
from quickstudy.encoders import ImageEncoder
from quickstudy.train.parts import Parts

ITEM = (1, 28, 28)


def characters(folder: Path) -> Path:
    """A bundle that tells simple characters apart: prototypes in the space of an untrained net."""
    parts = Parts(load("method", {"name": "protonet", "temperature": 4}), load("net", "conv4"), ITEM, 5)
    told = {"metric": "accuracy", "mean": 0.9, "low": 0.89, "high": 0.91, "split": "test", "ways": 5, "shots": 1}
    Bundle(
        parts.build(),
        ImageEncoder(item=ITEM, invert="paper"),
        name="characters",
        outputs=parts.outputs,
        parts=parts,
        provenance={"evaluation": told | {"episodes": 1000, "digest": "0" * 16}},
    ).save(folder)
    return folder


class Served:
    """A server that can be stopped and started again at the same address."""

    def __init__(self, folder: Path, bundle: Path, keys: bool = False) -> None:
        from quickstudy.serve.settings import ServerSettings

        self.settings = ServerSettings(
            bundles=(str(bundle),),
            db=f"sqlite:///{folder / 'learners.db'}",
            versions=str(folder / "versions"),
            keys=keys,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.key = ""

    def start(self) -> None:
        import uvicorn

        from quickstudy.serve.app import make_app

        app = make_app(self.settings)
        self.store = app.state.server.store
        options = {"host": "127.0.0.1", "port": self.port, "log_config": None, "timeout_graceful_shutdown": 2}
        self._server = uvicorn.Server(uvicorn.Config(app, **options))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.02)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server does not stop"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}v1/{path}", timeout=10) as answer:
            return json.load(answer)

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"{self.url}v1/{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
