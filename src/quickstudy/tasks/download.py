"""Downloads that resume, are checked, and appear whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from quickstudy.errors import DataError
from quickstudy.tasks.cache import cache_folder

if sys.platform != "win32":
    import fcntl

__all__ = ["Progress", "checksum", "download", "watch"]

Progress = Callable[[str, int, int | None], None]
"""Told (file name, bytes so far, bytes in all or None if the server does not say) as a download goes on."""

_CHUNK = 1 << 18
_CUT_OFF = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
_watcher: ContextVar[Progress | None] = ContextVar("watcher", default=None)


@contextmanager
def watch(progress: Progress) -> Iterator[None]:
    """Have every download within the block report to `progress`, however deep inside a task family it starts."""
    token = _watcher.set(progress)
    try:
        yield
    finally:
        _watcher.reset(token)


def download(
    url: str,
    md5: str,
    *,
    folder: Path | None = None,
    tries: int = 5,
    wait: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """The file at `url`, in the cache folder; fetched only if it is not there.

    A transfer that is cut off goes on where it stopped, in the next try or the next run. The file gets its name only
    when its checksum is right. If several processes ask for one file at once, one fetches it.

    Args:
        url: Where the file is; its last part is its name here.
        md5: The published checksum, 32 hex digits.
        folder: Where to keep it; None means `downloads` in the cache folder.
        tries: How many times in a row to try without getting a single byte further before giving up.
        wait: Seconds to wait after the first failure; doubled after each further one.
        timeout: Seconds of silence after which a connection counts as cut off.

    Raises:
        DataError: the server refuses or cannot be reached, what it sends has another checksum, or the cache folder
            cannot be written.
    """
    folder = folder or cache_folder() / "downloads"
    path = folder / url.rpartition("/")[2]
    part = path.with_name(f"{path.name}.part")
    if _is(path, md5):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if _is(path, md5):  # another process was quicker
                return path
            for _ in range(2):  # a part left by an earlier run may be damaged: then once more, from nothing
                resumed = _size(part) > 0
                _fetch_all(url, part, tries=tries, wait=wait, timeout=timeout)
                got = checksum(part)
                if got == md5:
                    part.replace(path)
                    return path
                part.unlink()
                if not resumed:
                    break
    except OSError as error:
        raise DataError(
            f"cannot write {part}: {error.strerror}. Free some space, or name another folder in QUICKSTUDY_CACHE."
        ) from None
    raise DataError(
        f"{url} sent a file with MD5 {got}; the published one is {md5}. Something on the way changed it: try again "
        f"later or on another network, or place the right file at {path}."
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process (or thread) at a time fetch a file; the others wait."""
    if sys.platform == "win32":
        yield  # no such lock; whatever two downloads at once make of the file, the checksum judges it
        return
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def checksum(path: Path) -> str:
    """The MD5 of a file, 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _is(path: Path, md5: str) -> bool:
    return path.exists() and checksum(path) == md5


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch_all(url: str, part: Path, *, tries: int, wait: float, timeout: float) -> None:
    """Fill `part` to the end of the file at `url`, connecting anew as long as that gets any further."""
    failures = 0
    while True:
        before = _size(part)
        try:
            return _fetch(url, part, timeout)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DataError(
                    f"{url} answered {error.code} {error.reason}. If the file has moved, fetch it by hand and name "
                    "the folder that holds it in QUICKSTUDY_DATA."
                ) from None
            reason = f"{error.code} {error.reason}"
        except _CUT_OFF as error:
            reason = str(error) or type(error).__name__
        failures = 0 if _size(part) > before else failures + 1
        if failures >= tries:
            raise DataError(
                f"{url} could not be fetched: {reason} ({tries} tries in a row; {_size(part)} bytes are kept). Check "
                "the network and run again to go on, or name a folder that holds the data in QUICKSTUDY_DATA."
            )
        time.sleep(wait * 2 ** max(failures - 1, 0))


def _fetch(url: str, part: Path, timeout: float) -> None:
    """One connection: append what is missing to `part`, or fill it anew if the server only sends from the start."""
    have = _size(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checksum says whether what is there is right
        raise
    with answer, part.open("ab") as file:
        if answer.status != http.client.PARTIAL_CONTENT:
            file.truncate(have := 0)
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        progress = _watcher.get()
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            have += len(chunk)
            if progress is not None:
                progress(part.stem, have, total)
        if total is not None and have < total:
            raise ConnectionError(f"cut off after {have} of {total} bytes")
