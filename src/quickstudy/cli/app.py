"""The commands, and what happens between a command line and an exit code."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError, UnusedCliTokensError

import quickstudy
from quickstudy.cli import (
    adapt,
    bundle,
    check,
    compare,
    demo,
    evaluate,
    export,
    hub,
    keys,
    listing,
    profile,
    report,
    screen,
    serve,
    store,
    threads,
    train,
)
from quickstudy.core import allocator
from quickstudy.errors import QuickstudyError, SettingsError

__all__ = ["main", "make_app"]

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_FIRST = """\
First steps:
  quickstudy demo                     train, evaluate, report: a few minutes
  quickstudy list                     methods, tasks, nets and step rules
  quickstudy train protonet --help    the settings of a method
  quickstudy train protonet           a run of your own
Each command explains itself with --help.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: The words after `quickstudy`; None takes those of this process.

    Returns:
        0 when all went well; 1 for an error in what was asked (its message is on standard error); 2 for a command line
        that cannot be understood; 130 when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    several = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") != "1"
    code = _code(words, several)
    if several and argv is None:
        _end_at_once(code)
    return code


def _code(words: list[str], several: bool) -> int:
    try:
        with _among_workers(words) if several else contextlib.nullcontext():
            return _run(words)
    except CycloptsError as error:
        _or_traceback(error)
        screen.error(_usage(error, words), title="Usage")
        return USAGE
    except _SaidError:
        return FAILED
    except (QuickstudyError, OSError) as error:
        _or_traceback(error)
        screen.error(_told(error))
        return FAILED
    except KeyboardInterrupt as error:
        screen.warn(str(error) or "Interrupted; nothing was left half-written.")
        return INTERRUPTED


def _end_at_once(code: int) -> NoReturn:
    """End this process without taking torch apart: threads of a worker that outlive the interpreter abort it at times,
    and torchrun would take finished work for failed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _SaidError(Exception):
    """An error that another worker says, or the cause of which it says."""


@contextlib.contextmanager
def _among_workers(words: list[str]) -> Iterator[None]:
    """Meet the other workers of the job, and part from them whatever happens. One of them says what went wrong."""
    _prepare(words)  # before torch is imported
    from quickstudy.core import workers

    own = workers.join()
    if not own.first:
        screen.muted = True
        warnings.simplefilter("ignore")
    try:
        if words[:1] not in (["train"], ["evaluate"]):
            raise SettingsError(
                f"`quickstudy {' '.join(words[:1])}` is work for one process. Start it without torchrun."
            )
        yield
    except Exception as error:
        if not own.fails_first():
            raise _SaidError from error
        raise
    finally:
        workers.leave()


def make_app(argv: Sequence[str]) -> App:
    """The command line as cyclopts knows it. `train` has the flags of the method, tasks and net that `argv` chooses."""
    app = App(
        name="quickstudy",
        help="Meta-learning: train across many small tasks, then learn a new one from a handful of examples.",
        help_epilogue=_FIRST,
        help_format="plaintext",
        version=quickstudy.__version__,
        console=screen.out(),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    commands: dict[str, tuple[Callable[..., int], str]] = {
        "demo": (demo.demo, demo.EXAMPLES),
        "train": (train.command(argv[1:] if argv[:1] == ["train"] else ()), train.EXAMPLES),
        "profile": (profile.command(argv[1:] if argv[:1] == ["profile"] else ()), profile.EXAMPLES),
        "evaluate": (evaluate.evaluate, evaluate.EXAMPLES),
        "compare": (compare.compare, compare.EXAMPLES),
        "adapt": (adapt.adapt, adapt.EXAMPLES),
        "bundle": (bundle.bundle, bundle.EXAMPLES),
        "export": (export.export, export.EXAMPLES),
        "push": (hub.push, hub.PUSH_EXAMPLES),
        "pull": (hub.pull, hub.PULL_EXAMPLES),
        "serve": (serve.command(argv[1:] if argv[:1] == ["serve"] else ()), serve.EXAMPLES),
        "report": (report.report, report.EXAMPLES),
        "list": (listing.list_, listing.EXAMPLES),
        "check": (check.check, check.EXAMPLES),
    }
    for order, (name, (command, examples)) in enumerate(commands.items()):
        app.command(command, name=name, help=_told_once(command), help_epilogue=examples, sort_key=order)
    for order, group in enumerate((keys.app, store.app), start=len(commands)):
        app.command(group(order))
    return app


def _run(words: list[str]) -> int:
    if words[:1] not in ([], ["-h"], ["--help"], ["--version"]):
        _prepare(words)
    if os.getcwd() not in sys.path:  # so that package.module:Class finds what stands here
        sys.path.append(os.getcwd())
    code = make_app(words)(plain_names(words), exit_on_error=False, print_error=False)
    return code if isinstance(code, int) else OK


def _prepare(words: Sequence[str]) -> None:
    """Settle what torch reads when it is imported or makes its first tensor."""
    threads.settle(words, recorded=train.recorded_threads(words))
    allocator.prefer_huge_pages()
    allocator.keep_freed_memory()


def plain_names(words: Sequence[str]) -> list[str]:
    """The command line with `_` in the names of flags as `-`: both are understood."""
    said = []
    for word in words:
        name, sign, value = word.partition("=")
        said.append(name.replace("_", "-") + sign + value if word.startswith("--") else word)
    return said


def _usage(error: CycloptsError, words: Sequence[str]) -> str:
    error.verbose = False
    text = str(error)
    if isinstance(error, UnusedCliTokensError):
        text = (
            f"Nothing takes {' '.join(error.unused_tokens or [])!r}: it is one word too many, or its flag is missing."
        )
    command = words[0] if words and words[0].isalpha() and not text.startswith("Unknown command") else ""
    return f"{text}\nSee `{' '.join(part for part in ('quickstudy', command, '--help') if part)}`."


def _told_once(command: Callable[..., int]) -> str:
    """What the documentation of a command says before its arguments, a line a paragraph, to be wrapped anew."""
    text = inspect.cleandoc(command.__doc__ or "").partition("\nArgs:")[0].strip()
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _told(error: Exception) -> str:
    """A message alone; an error of the system's without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror.lower()}."
    return str(error)


def _or_traceback(error: Exception) -> None:
    """QUICKSTUDY_DEBUG=1 is for those who look for the cause in the code."""
    if os.environ.get("QUICKSTUDY_DEBUG", "0") not in ("", "0"):
        raise error
