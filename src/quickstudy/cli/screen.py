"""What a person sees: boxes for errors, tables, and progress that keeps quiet when nobody watches."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = ["Switch", "Ticker", "error", "json_out", "note", "out", "progress", "say", "table", "warn"]

Switch = Annotated[bool, Parameter(negative="", show_default=False)]
"""A flag that is there or not, without a --no-flag."""

muted = False
"""Whether nothing but errors is said, as by all workers of a job but the first."""

EVERY = 30.0  # seconds between plain progress lines where there is no terminal


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader has seen enough (`quickstudy list | head`): that is no failure, as it is to rich."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


def out() -> Console:
    """Standard output: results. Made anew each time, because tests and pipes replace the stream."""
    return _Console(highlight=False, quiet=muted)


def note() -> Console:
    """Standard error: progress and warnings."""
    return _Console(stderr=True, highlight=False, quiet=muted)


def say(text: str, *, style: str = "") -> None:
    """Plain lines of results, wrapped at words on a terminal only."""
    _print(out(), Text(text, style))


def warn(text: str) -> None:
    """What a person should read, on standard error."""
    _print(note(), Text(text, "yellow"))


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=not console.is_terminal)


def error(text: str, *, title: str = "Error") -> None:
    """A message alone: in a box on a terminal, as plain lines elsewhere."""
    console = _Console(stderr=True, highlight=False)
    if console.is_terminal:
        console.print(Panel(Text(text, "default"), title=title, title_align="left", border_style="red"))
    else:
        _print(console, Text(f"{title.lower()}: {text}"))


def json_out(value: Any) -> None:
    """Nothing but JSON on standard output."""
    out().out(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), highlight=False)


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    headed: bool = True,
    right: Sequence[int] = (),
) -> None:
    """A table on standard output; the columns numbered in `right` are aligned to the right."""
    made = Table(title=title or None, show_header=headed, header_style="bold", box=None, pad_edge=False)
    made.title_justify, made.title_style = "left", "bold"
    for place, heading in enumerate(headings):
        made.add_column(Text(heading), justify="right" if place in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    out().print(made)


class _Detail(ProgressColumn):
    """What the work itself has to say, in the task's `detail` field."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("detail", "")), no_wrap=True, overflow="ellipsis")


class Ticker:
    """Progress of one piece of work: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, what: str, total: float | None, bar: Progress | None, every: float = EVERY) -> None:
        self._what, self._total, self._bar, self._every = what, total, bar, every
        self._task = bar.add_task(what, total=total, detail="") if bar else None
        self._spoke = self._began = time.monotonic()

    def at(self, done: float, detail: str = "") -> None:
        """Say that `done` of the total is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, detail=detail)
        elif time.monotonic() - self._spoke >= self._every:
            self._spoke = time.monotonic()
            share = f"{done / self._total:.0%}" if self._total else f"{done:g}"
            _print(note(), Text(f"{self._what}: {share}  {detail}".rstrip()))


@contextmanager
def progress(what: str, total: float | None, *, quiet: bool = False) -> Iterator[Ticker]:
    """A `Ticker` on standard error for the length of a `with` block."""
    console = note()
    if quiet or not console.is_terminal:
        yield Ticker(what, total, None, every=float("inf") if quiet else EVERY)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=8),
        TextColumn("{task.percentage:>3.0f}%"),
        _Detail(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        yield Ticker(what, total, bar)
