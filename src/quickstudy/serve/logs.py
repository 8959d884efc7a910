"""Structured logs: one JSON object a line, holding nothing that a user sent.

What is logged is chosen field by field. A request is named by its route, never by its path, which may hold the name of
a class; an unforeseen error by its type and the lines of code it passed, never by its text, which may quote an example.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

__all__ = ["LOGGER", "JsonLines", "event", "failure", "set_up"]

LOGGER = logging.getLogger("quickstudy.serve")

_as_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, event, and the fields given with it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage() if record.name.startswith("quickstudy") else _of_others(record),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = type(record.exc_info[1]).__name__
            line["at"] = _places(record.exc_info[1])
        return _as_json(line)


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log that something happened."""
    if LOGGER.isEnabledFor(level):  # made here, for the logger itself would look for the line of code it is called from
        LOGGER.handle(LOGGER.makeRecord(LOGGER.name, level, "", 0, name, (), None, extra={"fields": fields}))


def failure(name: str, error: BaseException, **fields: Any) -> None:
    """Log an unforeseen error: its type and its way through the code, without its text."""
    LOGGER.error(name, extra={"fields": fields}, exc_info=(type(error), error, error.__traceback__))


def set_up(stream: TextIO | None = None, level: str = "INFO") -> None:
    """Send this server's and uvicorn's logs to a stream (standard error), as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("quickstudy.serve", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [] if name == "uvicorn.error" else [handler]
        logger.propagate = name == "uvicorn.error"
        logger.setLevel(level)
    access = logging.getLogger("uvicorn.access")  # it would log paths
    access.handlers, access.propagate, access.disabled = [], False, True


def _of_others(record: logging.LogRecord) -> str:
    """The text of another library's message; where it comes with an error, without what follows the first line."""
    return record.getMessage().splitlines()[0] if record.getMessage() else record.name


def _places(error: BaseException) -> list[str]:
    """Where in the code an error came from: file, line, function."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f"{frame.filename.rpartition('quickstudy/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__
    return own[-8:] + ([f"caused by {type(cause).__name__}", *_places(cause)] if cause is not None else [])
