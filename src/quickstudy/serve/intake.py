"""From the bytes of a request to what it asks: JSON or multipart, checked before anything is unpacked."""

from __future__ import annotations

import base64
import binascii
import io
import json
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pydantic
import torch
from PIL import Image
from pydantic import BaseModel

from quickstudy.core.shapes import Float, Tensor
from quickstudy.encoders import Encoder
from quickstudy.errors import DataError
from quickstudy.serve.multipart import Part, parts_of
from quickstudy.serve.refusals import RefusedError, invalid, too_large
from quickstudy.serve.settings import Limits
from quickstudy.serve.wire import AddRequest, CreateRequest, Example, Input, PredictRequest, explained

__all__ = ["Asked", "Raw", "add_of", "checked", "create_of", "items_of", "predict_of"]

FORMATS = ("PNG", "JPEG")

AnyRequest = TypeVar("AnyRequest", bound=BaseModel)


class Raw(NamedTuple):
    """An input as it came: the bytes of an image file, an array of numbers, or text."""

    kind: str
    """"image", "vector" or "text"; "file" for a part of a form, which is what the model takes."""
    content: Any


class Asked(NamedTuple):
    """What a request gives: examples with their classes, or inputs without."""

    raws: list[Raw]
    labels: list[str]
    model: str = ""
    name: str = ""
    keep: bool = True


def create_of(content_type: str, body: bytes, limits: Limits) -> Asked:
    """A request to make a learner.

    Raises:
        RefusedError: it is not one.
    """
    fields, files = _form(content_type, body, limits.examples)
    if files is None:
        asked = _json(CreateRequest, body)
        raws = _raws(asked.examples, limits.examples, "examples")
        return Asked(raws, _labels(asked.examples, limits), asked.model, _name(asked.name or "", limits), asked.keep)
    values = _only(fields, {"model", "name", "keep"})
    keep = values.get("keep", "true").strip().lower()
    if keep not in ("true", "false", "1", "0"):
        raise invalid(f"keep: got {keep[:20]!r}; expected true or false.")
    plain = {"model": values.get("model"), "name": values.get("name"), "keep": keep in ("true", "1")}
    head = _checked(CreateRequest, plain | {"examples": _as_examples(files)})
    return Asked(
        _of_files(files), _labels(head.examples, limits), head.model, _name(head.name or "", limits), head.keep
    )


def add_of(content_type: str, body: bytes, limits: Limits) -> Asked:
    """A request to add examples.

    Raises:
        RefusedError: it is not one.
    """
    fields, files = _form(content_type, body, limits.examples)
    if files is None:
        asked = _json(AddRequest, body)
        return Asked(_raws(asked.examples, limits.examples, "examples"), _labels(asked.examples, limits))
    _only(fields, set())
    head = _checked(AddRequest, {"examples": _as_examples(files)})
    return Asked(_of_files(files), _labels(head.examples, limits))


def predict_of(content_type: str, body: bytes, limits: Limits) -> Asked:
    """A request to predict.

    Raises:
        RefusedError: it is not one.
    """
    fields, files = _form(content_type, body, limits.inputs)
    if files is None:
        return Asked(_raws(_json(PredictRequest, body).inputs, limits.inputs, "inputs"), [])
    _only(fields, set())
    for file in files:
        if file.name != "inputs":
            raise invalid(f"a file came as {file.name[:60]!r}; expected every file in the field `inputs`.")
    if not files:
        raise invalid("got no file; expected one or more in the field `inputs`.")
    return Asked(_of_files(files), [])


def checked(raws: Sequence[Raw], encoder: Encoder, limits: Limits) -> list[Any]:
    """Inputs of the kind that the encoder takes, each found sound.

    Raises:
        RefusedError: one of them is of another kind, too large, or nothing that can be read.
    """
    return [_sound(at, raw, encoder, limits) for at, raw in enumerate(raws)]


def items_of(contents: Sequence[Any], encoder: Encoder) -> Float[Tensor, "n *item"]:
    """What the encoder makes of inputs that `checked` let pass.

    Raises:
        RefusedError: one cannot be read, or comes to numbers that are not finite.
    """
    try:
        x = encoder.encode(contents)
    except DataError as error:
        raise invalid(str(error), "unreadable_input") from None
    if not torch.isfinite(x).all():
        raise invalid("an input comes to numbers that are not finite. Send smaller ones.", "unreadable_input")
    return x


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json(kind: type[AnyRequest], body: bytes) -> AnyRequest:
    try:
        return kind.model_validate_json(body)
    except pydantic.ValidationError as error:
        if error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] == "json_invalid":
            raise RefusedError(400, "invalid_json", f"the body is no JSON: {_parser_says(error)}.") from None
        raise invalid(explained(error)) from None


def _parser_says(error: pydantic.ValidationError) -> str:
    text = error.errors(include_url=False)[0]["msg"].removeprefix("Invalid JSON: ")
    return f"{text}. Expected one object, in UTF-8"


def _checked(kind: type[AnyRequest], values: dict[str, Any]) -> AnyRequest:
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        raise invalid(explained(error)) from None


def _raws(inputs: Sequence[Input], most: int, what: str) -> list[Raw]:
    _few_enough(len(inputs), most, what)
    return [
        Raw(each.kind, _bytes(at, each.content) if each.kind == "image" else each.content)
        for at, each in enumerate(inputs)
    ]


def _bytes(at: int, text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(
            f"input {at}: its image is no base64. Send the bytes of a PNG or JPEG file in base64 without line breaks.",
            "unreadable_input",
        ) from None


def _labels(examples: Sequence[Example], limits: Limits) -> list[str]:
    for each in examples:
        if len(each.label) > limits.name:
            raise invalid(f"the name of a class has {len(each.label)} characters; it may have {limits.name}.")
    return [each.label for each in examples]


def _name(name: str, limits: Limits) -> str:
    if len(name) > limits.name:
        raise invalid(f"the learner's name has {len(name)} characters; it may have {limits.name}.")
    return name


def _few_enough(count: int, most: int, what: str) -> None:
    if count > most:
        raise too_large(f"got {count} {what}; this server takes {most}. Send fewer in one request.")


# --- forms ------------------------------------------------------------------------------------------------------------


def _form(content_type: str, body: bytes, most: int) -> tuple[dict[str, str], list[Part] | None]:
    """The fields and files of a form; no files, not even an empty list, where the body is JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("application/json", "") or kind.endswith("+json"):
        return {}, None
    if kind != "multipart/form-data":
        raise RefusedError(
            415,
            "unsupported_media_type",
            f"got a body of type {kind[:80]!r}; expected application/json or multipart/form-data.",
        )
    parts = parts_of(content_type, body, most + 8)
    files = [part for part in parts if part.is_file]
    _few_enough(len(files), most, "files")
    return {part.name: part.text for part in parts if not part.is_file}, files


def _only(fields: dict[str, str], known: set[str]) -> dict[str, str]:
    for name in fields:
        if name not in known:
            takes = f"takes {', '.join(sorted(known))}" if known else "takes none"
            raise invalid(
                f"the form has a field {name[:60]!r} without a file; this one {takes}. Send examples as files."
            )
    return fields


def _as_examples(files: Sequence[Part]) -> list[dict[str, str]]:
    return [{"class": file.name, "text": "a file"} for file in files]


def _of_files(files: Sequence[Part]) -> list[Raw]:
    return [Raw("file", file.content) for file in files]


# --- what each kind has to be -----------------------------------------------------------------------------------------


def _sound(at: int, raw: Raw, encoder: Encoder, limits: Limits) -> Any:
    kind, content = raw
    if kind == "file":
        content = _of_file(at, content, encoder)
    elif kind != encoder.kind:
        raise invalid(f"input {at} is of kind {kind}; this model takes {encoder.kind}s. Send `{encoder.kind}` instead.")
    if encoder.kind == "image":
        return _sound_image(at, content, limits)
    return _sound_text(at, content, limits) if encoder.kind == "text" else _sound_vector(at, content, encoder.item)


def _of_file(at: int, content: bytes, encoder: Encoder) -> Any:
    """What a file holds: an image, text in UTF-8, or a JSON array of numbers."""
    if encoder.kind == "image":
        return content
    try:
        return content.decode() if encoder.kind == "text" else _array(json.loads(content))
    except (ValueError, RecursionError):
        wanted = "text in UTF-8" if encoder.kind == "text" else "a JSON array of numbers"
        raise invalid(f"input {at}: its file is not what this model takes; expected {wanted}.") from None


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no array")
    return value


def _sound_image(at: int, content: bytes, limits: Limits) -> bytes:
    """The file, after a look at its head: the pixels are not touched before their number is known."""
    if len(content) > limits.image_bytes:
        raise too_large(f"input {at}: its image has {len(content) / 2**20:.1f} MB; it may have {limits.image:g}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise too_large(f"input {at}: its image has far more pixels than {limits.megapixels:g} million.") from None
    except Exception:  # decoders raise whatever they stumble over in a damaged file
        raise invalid(
            f"input {at} is no image that can be read ({len(content)} bytes). Send a whole PNG or JPEG file.",
            "unreadable_input",
        ) from None
    if width * height > limits.pixels:
        raise too_large(
            f"input {at}: its image has {width} x {height} pixels; {limits.megapixels:g} million may be. Shrink it."
        )
    return content


def _sound_text(at: int, content: str, limits: Limits) -> str:
    if len(content) > limits.text:
        raise too_large(f"input {at}: its text has {len(content)} characters; it may have {limits.text}.")
    if not content.strip():
        raise invalid(f"input {at}: its text is empty. Send at least one word.")
    return content


def _sound_vector(at: int, content: list[Any], item: tuple[int, ...]) -> Any:
    """Numbers as an array of the model's shape; a flat list is taken for any shape of as many numbers."""
    flat = not any(isinstance(each, list) for each in content)
    size = int(np.prod(item))
    if flat and len(content) != size:
        raise invalid(f"input {at} has {len(content)} numbers; this model takes {size}. Send as many.")
    if flat and not all(type(each) in (int, float) for each in content):
        wrong = next(type(each).__name__ for each in content if type(each) not in (int, float))
        raise invalid(f"input {at} holds a value of type {wrong}; expected numbers alone.")
    return np.asarray(content, dtype=np.float64).reshape(item) if flat and _fits(content) else content


def _fits(numbers: list[Any]) -> bool:
    """Whether no number is beyond what floating point holds, so that numpy makes an array of them."""
    return all(isinstance(each, float) or abs(each) < 2**1000 for each in numbers)
