"""A server with small models for tests of what it answers, and ways to ask it."""

from __future__ import annotations

import base64
import http.client
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image

from quickstudy.bundle import Bundle
from quickstudy.core.settings import load, settings
from quickstudy.core.shapes import Tensor
from quickstudy.encoders import Encoder, ImageEncoder, VectorEncoder
from quickstudy.train.parts import Parts
from serve.served import Served

ROWS = (3,)
PICTURES = (1, 16, 16)


@settings
class Letters(Encoder):
    """How often a text has each of the first letters: stands for an encoder with a net of its own."""

    kind: ClassVar[Any] = "text"
    item: tuple[int, ...] = (8,)

    def encode(self, raw: Sequence[Any]) -> Tensor:
        return torch.tensor([[float(text.lower().count(each)) for each in "abcdefgh"] for text in raw])


def bundle(
    kind: str = "vector", method: str = "protonet", seed: int = 0, name: str = "", ways: int = 3, **changes: Any
) -> Bundle:
    """A bundle with fresh weights: for rows of three numbers, texts, or pictures of 16 x 16."""
    encoder: Encoder = {
        "vector": VectorEncoder(item=ROWS),
        "image": ImageEncoder(item=PICTURES),
        "text": Letters(),
    }[kind]
    net = load("net", {"name": "mlp", "hidden": [8]})
    parts = Parts(load("method", method), net, encoder.item, ways)
    return Bundle(parts.build(seed), encoder, name=name or kind, outputs=ways, parts=parts, **changes)


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The code of an error."""
        assert self.body.keys() == {"error"}, self.body
        assert self.body["error"].keys() == {"code", "message"}, self.body
        assert len(self.body["error"]["message"]) > 20, "a message says what was got, what was expected, and the mend"
        return str(self.body["error"]["code"])


class Running(Served):
    """A real server with bundles saved for it."""

    def __init__(self, folder: Path, *bundles: Bundle, **changes: Any) -> None:
        self.folder = folder
        places = [folder / "bundles" / each.name for each in bundles]
        for each, place in zip(bundles, places, strict=True):
            each.save(place, replace=True)
        super().__init__(folder, places[0])
        given = {"bundles": tuple(map(str, places)), "watch": 0}
        self.settings = type(self.settings)(**{**vars_of(self.settings), **given, **changes})

    @property
    def app(self) -> Any:
        """The parts of the server."""
        return self._server.config.app.state.server

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "", kind: str = "application/json", **headers: str
    ) -> Answer:
        """Ask on a connection of its own; a body that is no bytes or text goes as JSON."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if key or self.key:
            given["Authorization"] = f"Bearer {key or self.key}"
        if body is not None:
            given.setdefault("Content-Type", kind)
            body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            line.request(method, path, body.encode() if isinstance(body, str) else body, given)
            answer = line.getresponse()
            content = answer.read()
        finally:
            line.close()
        said = json.loads(content) if answer.headers.get_content_type() == "application/json" else content
        return Answer(answer.status, said, dict(answer.headers))

    def create(self, examples: Sequence[Mapping[str, Any]], model: str = "vector", **more: Any) -> dict[str, Any]:
        """A new learner, as the server describes it."""
        made = self.ask("POST", "/v1/learners", {"model": model, "examples": list(examples), **more})
        assert made.status == 201, made
        found: dict[str, Any] = made.body
        return found

    def predict(self, id: str, *inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What a learner says."""
        said = self.ask("POST", f"/v1/learners/{id}/predict", {"inputs": list(inputs)})
        assert said.status == 200, said
        found: list[dict[str, Any]] = said.body["predictions"]
        return found


def vars_of(chosen: Any) -> dict[str, Any]:
    return {name: getattr(chosen, name) for name in chosen.__dataclass_fields__}


def row(*numbers: float) -> dict[str, Any]:
    return {"vector": list(numbers)}


def rows(**classes: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Examples, by class."""
    return [{"class": name, "vector": list(each)} for name, some in classes.items() for each in some]


TWO = rows(high=[(1, 2, 0), (2, 1, 0)], low=[(-1, -2, 0)])


def noise(seed: int = 0, side: int = 16, mode: str = "L", kind: str = "PNG") -> bytes:
    """An image file of noise."""
    shape = (side, side) if mode == "L" else (side, side, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, kind)
    return content.getvalue()


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def form(*parts: tuple[str, bytes, bool], boundary: str = "kq7x") -> tuple[str, bytes]:
    """The type and the body of a form: of each part its field, its content, and whether it is a file."""
    body = b""
    for name, content, is_file in parts:
        file = '; filename="f"' if is_file else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()
