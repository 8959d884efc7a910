"""Files that appear whole or not at all: whoever reads one finds the old content or the new."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from quickstudy.errors import CheckpointError

__all__ = ["whole_file", "write"]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write beside `path`, which takes its place when the block ends well and vanishes when it does not.

    What was written has reached the disk before it takes its place, so that a power cut leaves one or the other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        yield draft
        _sync(draft)
        draft.replace(path)
        with contextlib.suppress(OSError):  # not every file system syncs folders; the content itself is safe already
            _sync(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write(path: Path, content: str | bytes) -> None:
    """Put a file in place in one move.

    Raises:
        CheckpointError: it cannot be written (a full disk, say); what stood there before still does.
    """
    try:
        with whole_file(path) as draft:
            draft.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror or error}. What was saved before is untouched; make room, mend "
            "the permissions or name another folder, then go on."
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
