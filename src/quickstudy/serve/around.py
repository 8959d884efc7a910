"""What surrounds every request: who asks, what is counted and logged, and how an error is answered."""

from __future__ import annotations

import json
import logging
import math
import secrets
import time
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickstudy.errors import (
    BundleError,
    DataError,
    SettingsError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreQuotaError,
    StoreUnreachableError,
)
from quickstudy.serve import logs
from quickstudy.serve.metrics import Metrics
from quickstudy.serve.refusals import RefusedError

__all__ = ["FORESEEN", "ROUTE", "Around", "answer", "error_answer", "refusal", "register"]

ROUTE = "quickstudy.route"
"""Where a scope says which route it took, if FastAPI does not."""

SAFE = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
NO_STORE = (b"cache-control", b"no-store")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

FORESEEN = (RefusedError, StoreError, BundleError, SettingsError, DataError)
"""Errors that have an answer of their own."""

_STORE: dict[type[StoreError], tuple[int, str, str, float | None]] = {
    StoreBusyError: (503, "store_busy", "the database is busy. Nothing was changed; try again in a moment.", 1.0),
    StoreFullError: (
        507,
        "store_full",
        "the server has no room for more. Nothing was changed; what there is can still be asked.",
        None,
    ),
    StoreDamagedError: (
        500,
        "store_damaged",
        "what the server stored of this is damaged, and it gives no answer rather than a wrong one. Whoever runs the "
        "server finds more in its logs.",
        None,
    ),
    StoreError: (
        500,
        "store_error",
        "the server's database refused. Whoever runs the server finds more in its logs.",
        None,
    ),
    StoreUnreachableError: (
        503,
        "store_unreachable",
        "the server's database does not answer just now. Try again in a moment.",
        2.0,
    ),
}


_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(_as_json(value).encode(), status, headers, "application/json")


def error_answer(status: int, code: str, message: str, retry_after: float | None = None) -> Response:
    """An error in the one form that all have."""
    headers = {}
    if retry_after is not None:
        headers["Retry-After"] = str(math.ceil(retry_after))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="quickstudy"'
    if status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not read
    return answer({"error": {"code": code, "message": message[:1].upper() + message[1:]}}, status, headers)


def register(app: FastAPI, metrics: Metrics) -> None:
    """Answer every error in the one form."""

    async def refused(request: Request, error: Exception) -> Response:
        return refusal(error, metrics)

    for kind in (*FORESEEN, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, refused)


def refusal(error: Exception, metrics: Metrics) -> Response:
    """The answer to a request that ran into an error that is foreseen."""
    told = _as_refusal(error)
    metrics.refused.labels(told.code).inc()
    return error_answer(told.status, told.code, told.message, told.retry_after)


def _as_refusal(error: Exception) -> RefusedError:
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, StoreQuotaError):
        return RefusedError(409, "too_many_learners", str(error))
    if isinstance(error, (StoreError, BundleError)):
        logs.event("store_error", logging.ERROR, kind=type(error).__name__, reason=str(error))
        known: type = StoreDamagedError if isinstance(error, BundleError) else type(error)
        return RefusedError(*_STORE.get(known, _STORE[StoreError]))
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return RefusedError(422, "invalid_request", f"{'.'.join(map(str, first['loc']))}: {first['msg']}.")
    if isinstance(error, HTTPException):
        return _of_routing(error)
    return RefusedError(422, "invalid_request", str(error))


def _of_routing(error: HTTPException) -> RefusedError:
    if error.status_code == 404:
        return RefusedError(404, "not_found", "there is nothing at this address. GET /docs shows what there is.")
    if error.status_code == 405:
        return RefusedError(405, "method_not_allowed", "this address takes other methods. GET /docs shows which.")
    return RefusedError(error.status_code, "http_error", str(error.detail))


class Around:
    """Middleware: a number for each request, its line in the log, its count, and an answer when all else fails.

    Args:
        app: What it is around.
        metrics: Where requests are counted.
        hosts: The names by which the server may be addressed; empty allows any. An open server on a person's machine
            must not answer a page of another site that has its own name point here.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, hosts: tuple[str, ...] = ()) -> None:
        self._app, self._metrics, self._hosts = app, metrics, hosts
        self._counted: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        number = secrets.token_hex(8)
        status = 0
        finished = False

        def finish() -> None:
            nonlocal finished
            if not finished:
                finished = True
                self._metrics.under_way.dec()
                self._done(scope, status, time.perf_counter() - began, number)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers += [(b"x-request-id", number.encode()), *SAFE]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(NO_STORE)
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                finish()  # before the answer leaves: who has it finds the request counted and in the log
            await send(message)

        self._metrics.under_way.inc()
        try:
            foreign = self._foreign(scope)
            await (foreign or self._app)(scope, receive, sending)
        except Exception as error:
            logs.failure("unforeseen_error", error, request=number, route=_route(scope))
            if status:
                raise
            message = f"something went wrong that should not have; it is in the server's logs as {number}."
            await error_answer(500, "internal_error", message)(scope, receive, sending)
        finally:
            finish()

    def _foreign(self, scope: Scope) -> Response | None:
        """The answer to a request that another site had the browser make; None where it is none."""
        if not self._hosts:
            return None
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        origin = headers.get("origin")
        own = origin is None or origin.partition("://")[2] == host
        if name.lower() in self._hosts and own:
            return None
        return error_answer(
            403,
            "foreign_site",
            f"this server is open to {', '.join(self._hosts)} alone, for it asks for no keys. Address it by one of "
            "these names, or start it with --keys.",
        )

    def _done(self, scope: Scope, status: int, seconds: float, number: str) -> None:
        route, method = _route(scope), str(scope["method"])
        if method not in ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"):
            method = "other"
        count, times = self._counters(method, route, status)
        count.inc()
        times.observe(seconds)
        if route not in ("/healthz", "/readyz", "/metrics"):
            tenant = scope.get("state", {}).get("tenant")
            logs.event(
                "request",
                request=number,
                method=method,
                route=route,
                status=status,
                ms=round(1e3 * seconds, 1),
                tenant=tenant,
            )

    def _counters(self, method: str, route: str, status: int) -> tuple[Any, Any]:
        """Looked up once: there are as many as kinds of answers, whatever is asked for."""
        key = method, route, status
        if key not in self._counted:
            requests = self._metrics.requests.labels(method, route, str(status))
            self._counted[key] = requests, self._metrics.seconds.labels(method, route)
        return self._counted[key]


def _route(scope: Scope) -> str:
    """The route of a request as it is written down, with no name of anything in it."""
    return str(scope.get(ROUTE) or getattr(scope.get("route"), "path_format", "none"))
