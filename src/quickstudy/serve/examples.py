"""What the OpenAPI document says of each address: bodies, answers, and an example of each."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from quickstudy.serve import wire

__all__ = [
    "ADD",
    "CREATE",
    "DELETE",
    "EXAMPLES",
    "EXPORT",
    "FORGET",
    "GET",
    "HEALTH",
    "METRICS",
    "MODEL",
    "MODELS",
    "PAGE",
    "PREDICT",
    "READAPT",
    "READY",
    "RELOAD",
    "REMOVE",
    "REQUESTS",
]

REQUESTS: tuple[type[BaseModel], ...] = (wire.CreateRequest, wire.AddRequest, wire.PredictRequest)
"""Schemas that requests refer to; FastAPI itself adds those of answers."""

# A white dot on black, 8x8: as small as a PNG can be and still show something.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mNgwAL+AwEhBhoAAD4mD/ELx9zYAAAAAElFTkSuQmCC"
ID = "0f9c1d2e3a4b5c6d7e8f90a1b2c3d4e5"
EXAMPLE = "5d41402abc4b2a76b9719d911017c592"
TIME = "2026-11-21T12:00:00.000000+00:00"

_LEARNER = {
    "id": ID,
    "name": "my pets",
    "model": "animals",
    "version": "3f2a9c0b7d1e",
    "newest": True,
    "classes": [{"name": "cat", "examples": 1}, {"name": "dog", "examples": 1}],
    "created": TIME,
    "updated": TIME,
    "kept": True,
}
_MODEL = {
    "name": "animals",
    "version": "3f2a9c0b7d1e",
    "kind": "image",
    "item": [3, 84, 84],
    "ways": None,
    "method": "ProtoNet",
    "says_unknown": True,
    "licence": "Apache-2.0",
    "trained_on": {"tasks": {"name": "folder", "ways": 5, "shots": 5}},
}
_SAID = {
    "class": "cat",
    "probability": 0.97,
    "probabilities": {"cat": 0.97, "dog": 0.03},
    "known": True,
}
_PICTURES = [{"class": "cat", "image": DOT}, {"class": "dog", "image": DOT}]
_ROWS = [{"class": "high", "vector": [1.0, 2.5, -0.5]}, {"class": "low", "vector": [-1.0, 0.0, 0.25]}]
_TEXTS = [{"class": "card", "text": "where is my card?"}, {"class": "rate", "text": "what is the exchange rate?"}]

_MEANS = {
    400: "It cannot be understood.",
    401: "No key, or not a right one.",
    403: "Not for this key.",
    404: "No such thing of yours.",
    408: "The body was too slow in coming.",
    409: "It cannot be done as things are.",
    413: "More than this server takes.",
    415: "A body of another type.",
    422: "Understood, and it cannot be done as it is.",
    429: "Too much at once; Retry-After says when to come again.",
    500: "Something that should not have happened.",
    503: "Not just now; Retry-After says when to come again.",
    507: "No room for more.",
}


class _Told(Response):
    """A response whose type each status says for itself."""

    media_type = None


def _route(
    tag: str,
    summary: str,
    shape: type[BaseModel] | None,
    example: Any = None,
    *,
    status: int = 200,
    refusals: tuple[int, ...] = (),
    body: dict[str, Any] | None = None,
    key: bool = True,
    content: str = "application/json",
) -> dict[str, Any]:
    """Keyword arguments of a route of FastAPI's."""
    told: dict[int | str, dict[str, Any]] = {status: {"description": "Done."}}
    if content == "application/json" and shape is not None:
        told[status] |= {"model": shape, "content": {content: {"example": example}}}
    elif content:
        told[status] |= {"content": {content: {"schema": {"type": "string", "format": "binary"}}}}
    for each in sorted({*refusals, *((401, 404, 422, 429, 500, 503) if key else ())}):
        told[each] = {"description": _MEANS[each], "model": wire.Error}
    extra: dict[str, Any] = {} if body is None else {"requestBody": body}
    if key:
        extra["security"] = [{"key": []}]
    return {
        "tags": [tag],
        "summary": summary,
        "responses": told,
        "openapi_extra": extra,
        "response_model": None,
        "response_class": _Told,
    }


def _body(shape: type[BaseModel], examples: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    """A body in JSON, or the same as a form."""
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": f"#/components/schemas/{shape.__name__}"},
                "examples": {name: {"value": value} for name, value in examples.items()},
            },
            "multipart/form-data": {"schema": form},
        },
    }


_FILES: dict[str, Any] = {"type": "array", "items": {"type": "string", "format": "binary"}}
_BY_CLASS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": _FILES,
    "description": "A file of each example; the name of its field is its class.",
}
_NEW_FORM = _BY_CLASS | {
    "properties": {"model": {"type": "string"}, "name": {"type": "string"}, "keep": {"type": "boolean"}},
    "required": ["model"],
}
_INPUTS_FORM = {
    "type": "object",
    "properties": {"inputs": _FILES},
    "required": ["inputs"],
    "additionalProperties": False,
}

_CREATES = {
    "images": {"model": "animals", "name": "my pets", "examples": _PICTURES},
    "vectors, examples forgotten": {"model": "tables", "keep": False, "examples": _ROWS},
    "texts": {"model": "intents", "examples": _TEXTS},
}
_ADDS = {"a further class": {"examples": [{"class": "fish", "image": DOT}]}}
_ASKS = {
    "images": {"inputs": [{"image": DOT}]},
    "vectors": {"inputs": [{"vector": [0.5, 2.0, -0.25]}]},
    "texts": {"inputs": [{"text": "has my card been sent?"}]},
}
_SENT = (400, 408, 413, 415)


MODELS = _route("models", "List the models", wire.ModelPage, {"models": [_MODEL]})
MODEL = _route("models", "Show a model", wire.ModelAnswer, _MODEL)
RELOAD = _route(
    "models",
    "Load a new version of a model",
    wire.ReloadAnswer,
    {"model": "animals", "version": "77d0e2aa01bc", "previous": "3f2a9c0b7d1e", "changed": True},
    refusals=(403, 409),
)
CREATE = _route(
    "learners",
    "Make a learner",
    wire.LearnerAnswer,
    _LEARNER,
    status=201,
    refusals=(*_SENT, 409, 507),
    body=_body(wire.CreateRequest, _CREATES, _NEW_FORM),
)
PAGE = _route("learners", "List your learners", wire.LearnerPage, {"learners": [_LEARNER], "next": None})
GET = _route("learners", "Show a learner", wire.LearnerAnswer, _LEARNER)
DELETE = _route("learners", "Delete a learner", None, status=204, content="", refusals=(507,))
PREDICT = _route(
    "learners",
    "Ask a learner",
    wire.PredictAnswer,
    {"predictions": [_SAID]},
    refusals=(*_SENT, 409),
    body=_body(wire.PredictRequest, _ASKS, _INPUTS_FORM),
)
ADD = _route(
    "learners",
    "Add examples or a class",
    wire.LearnerAnswer,
    _LEARNER | {"classes": [*_LEARNER["classes"], {"name": "fish", "examples": 1}]},  # type: ignore[misc]
    refusals=(*_SENT, 409, 507),
    body=_body(wire.AddRequest, _ADDS, _BY_CLASS),
)
REMOVE = _route("learners", "Remove a class", wire.LearnerAnswer, _LEARNER, refusals=(409, 507))
EXAMPLES = _route(
    "learners",
    "List a learner's examples",
    wire.ExamplePage,
    {"examples": [{"id": EXAMPLE, "class": "cat", "count": 1}, {"id": EXAMPLE[::-1], "class": "dog", "count": 1}]},
    refusals=(409,),
)
FORGET = _route("learners", "Remove an example", wire.LearnerAnswer, _LEARNER, refusals=(409, 507))
READAPT = _route("learners", "Follow to the newest version", wire.LearnerAnswer, _LEARNER, refusals=(409, 507))
EXPORT = _route("learners", "Export a learner", None, content="application/zip")
HEALTH = _route("server", "Is it alive?", wire.Alive, {"alive": True}, key=False)
READY = _route(
    "server",
    "Is it ready?",
    wire.Ready,
    {"ready": True, "models": {"animals": "3f2a9c0b7d1e"}, "problems": []},
    key=False,
)
METRICS = _route("server", "What it counts", None, key=False, content="text/plain")
READY["responses"][503] = {"description": "Not ready.", "model": wire.Ready}
