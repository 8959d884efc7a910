"""The two requests that are made most, without the framework's way to them: that takes longer than all else."""

from __future__ import annotations

import re

from starlette.types import Receive, Scope, Send

from quickstudy.serve import asking
from quickstudy.serve.around import FORESEEN, ROUTE, refusal
from quickstudy.serve.server import Server

__all__ = ["Direct"]

LEARNER = "quickstudy.learner"
"""Where a scope says which learner is asked."""
LEARNERS = "/v1/learners"
PREDICT = re.compile(f"{LEARNERS}/([^/]+)/predict")


class Direct:
    """Answers requests to make learners and to predict, as the routes of the same addresses do.

    Those routes are what the OpenAPI document is made of; all of these call the same two functions.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Whether a request is one of these; it then knows its route."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope.get("root_path"):
            return False
        path: str = scope["path"]
        if path == LEARNERS:
            scope[ROUTE] = path
        elif found := PREDICT.fullmatch(path):
            scope[ROUTE], scope[LEARNER] = f"{LEARNERS}/{{id}}/predict", found[1]
        return ROUTE in scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if LEARNER in scope:
                response = await asking.predict(self._server, scope, receive, scope[LEARNER])
            else:
                response = await asking.create(self._server, scope, receive)
        except FORESEEN as error:
            response = refusal(error, self._server.metrics)
        await response(scope, receive, send)
