"""The server as an ASGI application."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

import quickstudy
from quickstudy.core import allocator
from quickstudy.serve import logs
from quickstudy.serve.around import PAGE_POLICY, Around, register
from quickstudy.serve.direct import Direct
from quickstudy.serve.examples import REQUESTS
from quickstudy.serve.manual import manual
from quickstudy.serve.metrics import Metrics
from quickstudy.serve.models import Models
from quickstudy.serve.routes import add_routes
from quickstudy.serve.server import Server
from quickstudy.serve.settings import ServerSettings
from quickstudy.serve.store import Store

__all__ = ["ENVIRONMENT", "from_environment", "make_app", "prepare"]

ENVIRONMENT = "QUICKSTUDY_SERVE"
"""The environment variable by which processes that serve together learn their settings."""

PAGE = Path(__file__).with_name("page")

_ABOUT = """\
Make a *learner* of a few labelled examples, and ask it about others.

`POST /v1/learners` adapts a model to your examples and gives the id of a learner; `POST /v1/learners/{id}/predict` asks
it. Examples and whole classes can be added and removed later. Every error reads
`{"error": {"code": ..., "message": ...}}`; after a 429 or 503 come again when `Retry-After` says so.
"""


def from_environment() -> FastAPI:
    """The application that `quickstudy serve` describes in the environment; for each of several processes."""
    logs.set_up()
    allocator.keep_freed_memory()  # as the command line does for a process that serves alone
    return make_app(ServerSettings.from_json(os.environ[ENVIRONMENT]))


def prepare(settings: ServerSettings) -> None:
    """Open what a process will open, and close it: before several are started, so that an error is told once.

    Raises:
        QuickstudyError: a bundle or the database cannot be used.
    """
    Models(settings.bundles, settings.versions, Metrics(), calibration=settings.calibration)
    Store.open(settings.db).close()


def make_app(settings: ServerSettings) -> FastAPI:
    """The application of one process. Its models and its database are opened here, so that what fails, fails at once.

    Raises:
        QuickstudyError: a bundle or the database cannot be used.
    """
    server = Server(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.start()
        try:
            yield
        finally:
            server.close()  # requests are finished by now: nothing is kept waiting by this

    app = _Application(
        title="quickstudy",
        version=quickstudy.__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.server = server
    add_routes(app.router, server)
    _pages(app)
    register(app, server.metrics)
    app.add_middleware(Around, metrics=server.metrics, hosts=settings.hosts)
    app.direct = Around(Direct(server), server.metrics, settings.hosts)
    app.openapi = lambda: _document(app, settings.keys)  # type: ignore[method-assign]
    return app


class _Application(FastAPI):
    """FastAPI's, which what is asked most passes by."""

    direct: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if Direct.takes(scope):
            scope["app"] = self
            await self.direct(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _document(app: FastAPI, keys: bool) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, and the schemas of requests, which are read by hand within their limits."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        asked = models_json_schema(
            [(shape, "validation") for shape in REQUESTS], ref_template="#/components/schemas/{model}"
        )[1]["$defs"]
        made["components"]["schemas"] |= asked
        made["paths"] = dict(sorted(made["paths"].items(), key=lambda each: (not each[0].startswith("/v1/m"), each[0])))
        scheme = {"type": "http", "scheme": "bearer", "description": "A key that `quickstudy keys add` has made."}
        made["components"]["securitySchemes"] = {"key": scheme}
        if not keys:
            for path in made["paths"].values():
                for told in path.values():
                    told.pop("security", None)
        app.openapi_schema = made
    return app.openapi_schema


def _pages(app: FastAPI) -> None:
    """What browsers show: the page at /, its files under /page, the interface at /docs."""
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}

    class Files(StaticFiles):
        def file_response(self, *args: Any, **values: Any) -> Response:
            response = super().file_response(*args, **values)
            response.headers.update(headers)
            return response

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html", headers=headers)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(manual(app.openapi()), headers=headers)

    app.mount("/page", Files(directory=PAGE), name="page")
