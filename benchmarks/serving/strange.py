"""Requests that nobody sends on purpose: files damaged in every way, arrays of anything, forms cut and spliced."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

__all__ = ["Strange", "strange"]

SIDES = (1, 2, 7, 28, 33, 64)
NUMBERS = (0, -0.0, 1, 1e-320, 1e38, 3.5e38, 1e300, -1e39, 2**63, 10**30, 10**400, 0.1)
THINGS = (None, True, False, "", "1", "NaN", [], {}, [[]], [1], {"a": 1}, "\ud800", "\0", "é", "\U0001f600" * 3)


class Strange(NamedTuple):
    """One request: where to, of which type, with which body."""

    what: str
    path: str
    kind: str
    body: bytes


def strange(number: int, learners: dict[str, str]) -> Strange:
    """The request of a number: the same on every machine.

    Args:
        number: Which.
        learners: The id of a learner of each model: "image", "vector" and "text".
    """
    chance = random.Random(number)
    what, make = chance.choice(list(_KINDS.items()))
    return make(chance, what, learners)


def _image(chance: random.Random, what: str, learners: dict[str, str]) -> Strange:
    content = _damaged(chance, _picture(chance)) if chance.random() < 0.8 else _made_up(chance)
    text = base64.b64encode(content).decode()
    if chance.random() < 0.1:
        text = _damaged(chance, text.encode()).decode("latin-1")
    return _json(chance, what, "image", learners, {"image": text})


def _vector(chance: random.Random, what: str, learners: dict[str, str]) -> Strange:
    length = chance.choice((3, 3, 3, 0, 1, 2, 4, 1000))
    numbers = [chance.choice(NUMBERS) if chance.random() < 0.7 else chance.choice(THINGS) for _ in range(length)]
    content: Any = (
        numbers if chance.random() < 0.8 else chance.choice((numbers * 2, [numbers], {"0": numbers}, *THINGS))
    )
    return _json(chance, what, "vector", learners, {"vector": content})


def _text(chance: random.Random, what: str, learners: dict[str, str]) -> Strange:
    letters = [chr(chance.choice((chance.randrange(0x20, 0x7F), chance.randrange(0x110000)))) for _ in range(30)]
    return _json(chance, what, "text", learners, {"text": chance.choice(("".join(letters), *THINGS))})


def _json(chance: random.Random, what: str, model: str, learners: dict[str, str], content: dict[str, Any]) -> Strange:
    """The content in one of the requests that take such, which may be damaged too."""
    good = {"image": _in_base64(_png(chance)), "vector": [1.0, 2.0, 3.0], "text": "a b"}[model]
    verb = chance.choice(("predict", "predict", "examples", "create"))
    name = chance.choice(("a", "b", "ÅÅ", "A" * 300, *THINGS)) if chance.random() < 0.2 else chance.choice("abc")
    example = {"class": name, **content}
    body: Any = {"inputs": [content]}
    if verb != "predict":
        body = {"examples": [example, {"class": "a", model: good}, {"class": "b", model: good}]}
    if verb == "create":
        body |= {"model": model, "keep": chance.choice((True, False, False, *THINGS[:4]))}
    if chance.random() < 0.1:
        body[chance.choice(("model", "name", "keep", "examples", "inputs", "x"))] = chance.choice(THINGS)
    text = json.dumps(body).encode()
    if chance.random() < 0.1:
        text = text.replace(b"1.0", chance.choice((b"NaN", b"Infinity", b"1e999", b"-", b"01", b"1" * 5000)))
    if chance.random() < 0.1:
        text = _damaged(chance, text)
    path = "/v1/learners" if verb == "create" else f"/v1/learners/{learners[model]}/{verb}"
    return Strange(f"{what} {verb}", path, "application/json", text)


def _form(chance: random.Random, what: str, learners: dict[str, str]) -> Strange:
    model = chance.choice(list(learners))
    boundary = chance.choice(("b", "kq7x", "b" * 69))
    parts = [("model", False, model.encode())] if chance.random() < 0.9 else []
    for _ in range(chance.randrange(5)):
        content = {"image": _picture(chance), "vector": b"[1,2,3]", "text": b"some text"}[model]
        name = chance.choice(("a", "b", "inputs", "keep", "é", '"', "a\r\nb", ""))
        parts.append((name, chance.random() < 0.8, _damaged(chance, content) if chance.random() < 0.5 else content))
    body = b""
    for name, is_file, content in parts:
        file = '; filename="x"' if is_file else ""
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
        )
    body += f"--{boundary}--\r\n".encode()
    if chance.random() < 0.5:
        body = _damaged(chance, body)
    said = boundary if chance.random() < 0.9 else chance.choice(("", "other", "\xff", "b" * 300))
    path = chance.choice(
        ("/v1/learners", *(f"/v1/learners/{learners[model]}/{verb}" for verb in ("predict", "examples")))
    )
    return Strange(what, path, f"multipart/form-data; boundary={said}", body)


def _bytes(chance: random.Random, what: str, learners: dict[str, str]) -> Strange:
    kind = chance.choice(("application/json", "multipart/form-data; boundary=b", "text/plain", "", "a/b/c;;;=", "é"))
    body = chance.randbytes(chance.choice((0, 1, 10, 1000)))
    nested = chance.choice((b"[", b'{"a":')) * chance.choice((10, 300, 50_000))
    path = chance.choice(("/v1/learners", f"/v1/learners/{learners['vector']}/predict"))
    return Strange(what, path, kind, chance.choice((body, nested)))


_KINDS: dict[str, Callable[[random.Random, str, dict[str, str]], Strange]] = {
    "image": _image,
    "vector": _vector,
    "text": _text,
    "form": _form,
    "bytes": _bytes,
}


def _picture(chance: random.Random) -> bytes:
    """A sound image file of some format, mode and size."""
    mode = chance.choice(("L", "RGB", "RGBA", "1", "P", "I;16", "LA", "CMYK"))
    width, height = chance.choice(SIDES), chance.choice(SIDES)
    content = io.BytesIO()
    shape = (height, width) if mode == "I;16" else (height, width, 3)
    drawn = np.random.default_rng(chance.getrandbits(32)).integers(0, 256, shape)
    if mode == "I;16":
        Image.fromarray((drawn * 257).astype(np.uint16)).save(content, "PNG")
        return content.getvalue()
    image = Image.fromarray(drawn.astype(np.uint8)).convert(mode)
    formats = {"CMYK": ("JPEG", "TIFF"), "L": ("PNG", "JPEG", "GIF", "BMP"), "RGB": ("PNG", "JPEG", "WEBP")}
    image.save(content, chance.choice(formats.get(mode, ("PNG",))))
    return content.getvalue()


def _png(chance: random.Random) -> bytes:
    content = io.BytesIO()
    Image.new("L", (28, 28), chance.randrange(256)).save(content, "PNG")
    return content.getvalue()


def _made_up(chance: random.Random) -> bytes:
    """A PNG file of chunks that fit neither each other nor their head."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content) if chance.random() < 0.9 else 0
        size = len(content) if chance.random() < 0.9 else chance.choice((0, 2**31 - 1, 2**32 - 1))
        return struct.pack(">I", size) + kind + content + struct.pack(">I", check)

    sizes = (0, 1, 28, 4000, 5000, 65_535, 2**31 - 1)
    head = struct.pack(
        ">IIBBBBB",
        chance.choice(sizes),
        chance.choice(sizes),
        chance.choice((0, 1, 2, 8, 16, 255)),
        chance.choice((0, 2, 3, 4, 6, 9)),
        0,
        0,
        chance.choice((0, 0, 1, 7)),
    )
    pixels = zlib.compress(bytes(chance.choice((0, 100, 10_000, 5_000_000))), 9)
    middle = [
        chunk(b"IDAT", pixels),
        chunk(b"PLTE", chance.randbytes(chance.choice((3, 7, 768, 900)))),
        chunk(b"tRNS", chance.randbytes(chance.randrange(300))),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3_000_000), 9)),
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(3_000_000), 9)),
        chunk(b"eXIf", b"MM\0*" + chance.randbytes(40)),
        chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
    ]
    some = chance.sample(middle, chance.randrange(1, len(middle)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(some) + chunk(b"IEND", b"")


def _damaged(chance: random.Random, content: bytes) -> bytes:
    """Content with bits turned, pieces cut out, doubled, or put elsewhere."""
    held = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if not held:
            return bytes(chance.randbytes(3))
        at = chance.randrange(len(held))
        how = chance.randrange(5)
        if how == 0:
            held[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            del held[at:]
        elif how == 2:
            del held[at : at + chance.randrange(1, 20)]
        elif how == 3:
            held[at:at] = held[at : at + chance.randrange(1, 200)]
        else:
            held[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
    return bytes(held)


def _in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
