"""The two requests that are made most, without the framework's way to them: that takes longer than all else."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from quickstudy.serve import asking
from quickstudy.serve.around import FORESEEN, ROUTE, refusal
from quickstudy.serve.server import Server

__all__ = ["Direct"]

LEARNERS = "/v1/learners"
PREDICT = re.compile(f"{LEARNERS}/([^/]+)/predict")


class Direct:
    """Middleware that answers requests to make learners and to predict; all others go on.

    It calls what the routes of the same addresses call, which the OpenAPI document is made of.
    """

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path == LEARNERS:
            scope[ROUTE] = path
            await self._answered(asking.create, scope, receive, send)
        elif found := PREDICT.fullmatch(path):
            scope[ROUTE] = f"{LEARNERS}/{{id}}/predict"
            await self._answered(asking.predict, scope, receive, send, found[1])
        else:
            await self._app(scope, receive, send)

    async def _answered(
        self, ask: Callable[..., Awaitable[Response]], scope: Scope, receive: Receive, send: Send, *values: Any
    ) -> None:
        try:
            response = await ask(self._server, scope, receive, *values)
        except FORESEEN as error:
            response = refusal(error, self._server.metrics)
        await response(scope, receive, send)
