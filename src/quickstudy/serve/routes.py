"""The addresses of the server, and what it says of each in its OpenAPI document."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from quickstudy.bundle import Bundle
from quickstudy.errors import StoreError
from quickstudy.serve import asking
from quickstudy.serve import examples as shown
from quickstudy.serve.around import answer
from quickstudy.serve.asking import LOCAL, asked, asked_with_body, learner_answer
from quickstudy.serve.metrics import CONTENT_TYPE
from quickstudy.serve.refusals import RefusedError
from quickstudy.serve.server import Server
from quickstudy.serve.wire import label_of

__all__ = ["ADMIN", "add_routes"]

ADMIN = "admin"
"""The tenant whose keys may load models."""

Id = Annotated[str, Path(description="The learner's id.", examples=["0f9c1d2e3a4b5c6d7e8f90a1b2c3d4e5"])]
Model = Annotated[str, Path(description="The model's name.", examples=["characters"])]


def add_routes(made: APIRouter, server: Server) -> None:
    """Every address but those of the page; the one that is asked most comes first, for they are tried in turn."""
    _predict(made, server)
    _models(made, server)
    _learners(made, server)
    _one_learner(made, server)
    _health(made, server)


def _predict(made: APIRouter, server: Server) -> None:
    @made.post("/v1/learners/{id}/predict", **shown.PREDICT)
    async def predict(request: Request, id: Id) -> Response:
        """What the learner says of some inputs. In a form, every file comes in the field `inputs`."""
        return await asking.predict(server, request.scope, request.receive, id)


def _models(made: APIRouter, server: Server) -> None:
    @made.get("/v1/models", **shown.MODELS)
    async def models(request: Request) -> Response:
        """Every model of this server: what it takes, and where it comes from."""
        async with asked(server, request.scope):
            return answer({"models": [_model(server.models.newest(name)) for name in server.models.names()]})

    @made.get("/v1/models/{model}", **shown.MODEL)
    async def model(request: Request, model: Model) -> Response:
        """One model."""
        async with asked(server, request.scope):
            return answer(_model(server.models.newest(model)))

    @made.post("/v1/models/{model}/reload", **shown.RELOAD)
    async def reload(request: Request, model: Model) -> Response:
        """Look for a new version in the model's folder now, and load it; with a key of the tenant `admin` alone."""
        async with asked(server, request.scope) as tenant:
            if tenant not in (ADMIN, LOCAL):
                raise RefusedError(403, "forbidden", f"loading models takes a key of the tenant {ADMIN!r}.")
            before, after = await asyncio.to_thread(server.models.reload, model)
            return answer({"model": model, "version": after, "previous": before, "changed": before != after})


def _learners(made: APIRouter, server: Server) -> None:
    @made.post("/v1/learners", status_code=201, **shown.CREATE)
    async def create(request: Request) -> Response:
        """Make a learner of a few examples of two classes or more.

        In a form, the name of each file's field is its class; the fields `model`, `name` and `keep` are plain.
        """
        return await asking.create(server, request.scope, request.receive)

    @made.get("/v1/learners", **shown.PAGE)
    async def page(
        request: Request,
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="The most to give.")] = 100,
    ) -> Response:
        """Your learners, a page at a time, in the order of their ids."""
        async with asked(server, request.scope) as tenant:
            found = await server.service.page(tenant, after, limit + 1)
            rest = found[limit - 1].id if len(found) > limit else None
            return answer({"learners": [learner_answer(server, each) for each in found[:limit]], "next": rest})


def _one_learner(made: APIRouter, server: Server) -> None:
    @made.get("/v1/learners/{id}", **shown.GET)
    async def get(request: Request, id: Id) -> Response:
        """One learner."""
        async with asked(server, request.scope) as tenant:
            return answer(learner_answer(server, await server.service.get(tenant, id)))

    @made.delete("/v1/learners/{id}", status_code=204, **shown.DELETE)
    async def delete(request: Request, id: Id) -> Response:
        """Forget a learner, with its examples."""
        async with asked(server, request.scope) as tenant:
            await server.service.delete(tenant, id)
            return Response(status_code=204)

    @made.post("/v1/learners/{id}/examples", **shown.ADD)
    async def add(request: Request, id: Id) -> Response:
        """Add examples, of classes that the learner knows or of new ones, and adapt it anew."""
        async with asked_with_body(server, request.scope, request.receive) as (tenant, kind, body):
            return answer(learner_answer(server, await server.service.add(tenant, id, kind, body)))

    @made.get("/v1/learners/{id}/examples", **shown.EXAMPLES)
    async def examples(request: Request, id: Id) -> Response:
        """The ids and classes of the examples that the learner is made of. Equal examples of one class are one."""
        async with asked(server, request.scope) as tenant:
            found = await server.service.examples(tenant, id)
            return answer({"examples": [{"id": each.id, "class": each.label, "count": each.times} for each in found]})

    @made.delete("/v1/learners/{id}/examples/{example}", **shown.FORGET)
    async def forget(
        request: Request,
        id: Id,
        example: Annotated[str, Path(description="The example's id.", examples=[shown.EXAMPLE])],
    ) -> Response:
        """Remove an example, and adapt the learner anew. The last one of a class takes the class with it."""
        async with asked(server, request.scope) as tenant:
            return answer(learner_answer(server, await server.service.remove_example(tenant, id, example)))

    @made.delete("/v1/learners/{id}/classes/{label:path}", **shown.REMOVE)
    async def remove(
        request: Request, id: Id, label: Annotated[str, Path(description="The name of the class.", examples=["cat"])]
    ) -> Response:
        """Remove a class with its examples, and adapt the learner anew."""
        async with asked(server, request.scope) as tenant:
            return answer(learner_answer(server, await server.service.remove(tenant, id, label_of(label))))

    @made.post("/v1/learners/{id}/readapt", **shown.READAPT)
    async def readapt(request: Request, id: Id) -> Response:
        """Make the learner follow to the newest version of its model now."""
        async with asked(server, request.scope) as tenant:
            return answer(learner_answer(server, await server.service.readapt(tenant, id)))

    @made.get("/v1/learners/{id}/export", **shown.EXPORT)
    async def export(request: Request, id: Id) -> Response:
        """The learner as a zip: `learner.safetensors`, and `learner.json` with what it means."""
        async with asked(server, request.scope) as tenant:
            content = await server.service.export(tenant, id)
            name = {"Content-Disposition": f'attachment; filename="learner-{id}.zip"'}
            return Response(content, 200, name, "application/zip")


def _health(made: APIRouter, server: Server) -> None:
    @made.get("/healthz", **shown.HEALTH)
    async def healthz() -> Response:
        """Whether the process lives."""
        return answer({"alive": True})

    @made.get("/readyz", **shown.READY)
    async def readyz() -> Response:
        """Whether the server takes requests; what is wrong without keeping it from that is under `problems`."""
        problems = server.models.problems()
        try:
            await asyncio.to_thread(server.store.ping)
            ready = not server.stopping
        except StoreError as error:
            ready = False
            problems = [*problems, f"the database cannot be used ({type(error).__name__})."]
        newest = {name: server.models.newest(name).version for name in server.models.names()}
        return answer({"ready": ready, "models": newest, "problems": problems}, 200 if ready else 503)

    @made.get("/metrics", **shown.METRICS)
    async def metrics() -> Response:
        """What the server counts, for Prometheus."""
        return Response(server.metrics.text(), media_type=CONTENT_TYPE)


def _model(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "kind": bundle.encoder.kind,
        "item": list(bundle.item),
        "ways": bundle.ways,
        "method": type(bundle.method).__name__,
        "says_unknown": bool(bundle.calibrations),
        "licence": bundle.licence,
        "trained_on": _finite(bundle.provenance),
    }


def _finite(value: Any) -> Any:
    """A value without numbers that JSON has not."""
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
