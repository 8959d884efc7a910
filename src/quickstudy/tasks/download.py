"""Downloads that resume, are checked, and appear whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from quickstudy.errors import DataError
from quickstudy.tasks.cache import cache_folder

__all__ = ["Progress", "checksum", "download"]

Progress = Callable[[int, int | None], None]
"""Told (bytes so far, bytes in all, or None if the server does not say) as a download goes on."""

_CHUNK = 1 << 18
_CUT_OFF = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def download(
    url: str,
    md5: str,
    *,
    folder: Path | None = None,
    tries: int = 5,
    wait: float = 1.0,
    timeout: float = 30.0,
    progress: Progress | None = None,
) -> Path:
    """The file at `url`, in the cache folder; fetched only if it is not there.

    A transfer that is cut off goes on where it stopped, in the next try or the next run. The file gets its name only
    when its checksum is right.

    Args:
        url: Where the file is; its last part is its name here.
        md5: The published checksum, 32 hex digits.
        folder: Where to keep it; None means `downloads` in the cache folder.
        tries: How many times in a row to try without getting a single byte further before giving up.
        wait: Seconds to wait after the first failure; doubled after each further one.
        timeout: Seconds of silence after which a connection counts as cut off.
        progress: Told how far it is.

    Raises:
        DataError: the server refuses or cannot be reached, or what it sends has another checksum.
    """
    folder = folder or cache_folder() / "downloads"
    path = folder / url.rpartition("/")[2]
    if path.exists() and checksum(path) == md5:
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for fresh in (False, True):  # an old part may be damaged: one more attempt from nothing
            resumed = part.exists() and part.stat().st_size > 0
            _fetch_all(url, part, tries, wait, timeout, progress)
            got = checksum(part)
            if got == md5:
                part.replace(path)
                return path
            part.unlink()
            if fresh or not resumed:
                break
    except PermissionError as error:
        raise DataError(
            f"cannot write {error.filename}: set QUICKSTUDY_CACHE to a folder that can be written."
        ) from None
    raise DataError(
        f"{url} sent a file with MD5 {got}; the published one is {md5}. Something on the way changed it: try again "
        f"later or on another network, or place the right file at {path}."
    )


def checksum(path: Path) -> str:
    """The MD5 of a file, 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _fetch_all(url: str, part: Path, tries: int, wait: float, timeout: float, progress: Progress | None) -> None:
    """Fill `part` to the end of the file at `url`, connecting anew as long as that gets any further."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _fetch(url, part, timeout, progress)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DataError(
                    f"{url} answered {error.code} {error.reason}. If the data set has moved, fetch it by hand and name "
                    "the folder that holds it in QUICKSTUDY_DATA."
                ) from None
            reason = f"{error.code} {error.reason}"
        except _CUT_OFF as error:
            reason = str(error) or type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        failures = 1 if after > before else failures + 1
        if failures >= tries:
            raise DataError(
                f"{url} could not be fetched: {reason} ({tries} tries, {after} bytes so far, kept). Check the network "
                "and run again to go on, or name a folder that holds the data in QUICKSTUDY_DATA."
            )
        time.sleep(wait * 2 ** (failures - 1))


def _fetch(url: str, part: Path, timeout: float, progress: Progress | None) -> None:
    """One connection: append what is missing to `part`, or fill it anew if the server only sends from the start."""
    have = part.stat().st_size if part.exists() else 0
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
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            have += len(chunk)
            if progress is not None:
                progress(have, total)
        if total is not None and have < total:
            raise ConnectionError(f"cut off after {have} of {total} bytes")
