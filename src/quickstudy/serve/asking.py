"""Being asked: who asks, within which limits, and the two things that are asked most, on the shortest way to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope

from quickstudy.serve.around import answer
from quickstudy.serve.records import LearnerSummary
from quickstudy.serve.refusals import RefusedError, busy
from quickstudy.serve.server import Server
from quickstudy.serve.service import Predictions

__all__ = ["LOCAL", "asked", "asked_with_body", "create", "learner_answer", "predict"]

LOCAL = "local"
"""The one tenant of a server without keys."""


async def predict(server: Server, scope: Scope, receive: Receive, id: str) -> Response:
    """The answer to a request to predict.

    Raises:
        RefusedError: it is not done.
    """
    async with asked_with_body(server, scope, receive) as (tenant, kind, body):
        return answer(_predictions(await server.service.predict(tenant, id, kind, body)))


async def create(server: Server, scope: Scope, receive: Receive) -> Response:
    """The answer to a request to make a learner.

    Raises:
        RefusedError: it is not done.
    """
    async with asked_with_body(server, scope, receive) as (tenant, kind, body):
        learner = await server.service.create(tenant, kind, body)
        return answer(learner_answer(server, learner), 201, {"Location": f"/v1/learners/{learner.id}"})


@asynccontextmanager
async def asked(server: Server, scope: Scope) -> AsyncIterator[str]:
    """A request being done, for its tenant: let in by its key, the tenant's rate and the number under way, within time.

    Raises:
        RefusedError: it is not let in, or it takes too long.
    """
    tenant = await _let_in(server, scope, _header(scope, b"authorization"))
    with server.gate.enter(tenant):
        try:
            async with asyncio.timeout(server.settings.limits.answer):
                yield tenant
        except TimeoutError:
            raise _too_long() from None


@asynccontextmanager
async def asked_with_body(server: Server, scope: Scope, receive: Receive) -> AsyncIterator[tuple[str, str, bytes]]:
    """A request with a body being done: its tenant, what kind of body it is, and the body, held as long as that takes.

    Raises:
        RefusedError: as `asked`; or the body is too large, too slow in coming, or cut off.
    """
    authorization = kind = length = ""
    for name, value in scope["headers"]:  # one look at them all: each costs as much as one for a single name
        if name == b"content-type":
            kind = value.decode("latin-1")
        elif name == b"content-length":
            length = value.decode("latin-1")
        elif name == b"authorization":
            authorization = value.decode("latin-1")
    tenant = await _let_in(server, scope, authorization)
    limits, bodies, body = server.settings.limits, server.bodies, None
    with server.gate.enter(tenant):
        try:
            async with asyncio.timeout(limits.upload) as patience:
                body = await bodies.take(length, receive)
                patience.reschedule(asyncio.get_running_loop().time() + limits.answer)
                yield tenant, kind, body
        except TimeoutError:
            raise (bodies.too_slow() if body is None else _too_long()) from None
        finally:
            if body is not None:
                bodies.release(body)


def learner_answer(server: Server, learner: LearnerSummary) -> dict[str, Any]:
    """A learner as it is shown."""
    counts = zip(learner.classes, learner.counts, strict=True)
    return {
        "id": learner.id,
        "name": learner.name,
        "model": learner.model,
        "version": learner.version,
        "newest": server.models.is_newest(learner.model, learner.version),
        "classes": [{"name": name, "examples": count} for name, count in counts],
        "created": learner.created.isoformat(),
        "updated": learner.updated.isoformat(),
        "kept": learner.kept,
    }


async def _let_in(server: Server, scope: Scope, authorization: str) -> str:
    tenant = await _tenant(server, authorization) if server.settings.keys else LOCAL
    scope.setdefault("state", {})["tenant"] = tenant
    server.rates.take(tenant)
    return tenant


async def _tenant(server: Server, authorization: str) -> str:
    scheme, _, shown = authorization.partition(" ")
    key = shown.strip() if scheme.lower() == "bearer" and shown.strip() else None
    tenant = None if key is None else await server.service.tenant_of(key)
    if tenant is None:
        got = "no key" if key is None else "a key that is unknown, wrong or revoked"
        raise RefusedError(
            401,
            "unauthorized",
            f"got {got}. Send the header `Authorization: Bearer KEY`; whoever runs the server makes keys.",
        )
    return tenant


def _too_long() -> RefusedError:
    return busy(
        "this took longer than a request may. It may have been done all the same; look before you try again.",
        5.0,
        503,
        "timeout",
    )


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _predictions(said: Predictions) -> dict[str, Any]:
    found = []
    for row, known in zip(said.answers.probabilities, said.answers.known, strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        found.append(
            {
                "class": said.classes[best],
                "probability": row[best],
                "probabilities": dict(zip(said.classes, row, strict=True)),
                "known": known,
            }
        )
    return {"predictions": found}
