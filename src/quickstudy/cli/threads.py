"""How many threads torch may use: settled from the machine before torch is imported.

Small tensors gain little from many threads, and on a busy machine threads that spin while they wait for each other can
be tens of times slower than one. So waiting threads sleep (OMP_WAIT_POLICY=PASSIVE), and no more are started than
processors look idle. Whatever the environment already says wins over both; `--threads` wins over the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from quickstudy.errors import SettingsError

__all__ = ["asked_for", "idle_processors", "settle"]

MOST = 16  # past this, the nets of few-shot learning get slower, not faster

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def settle(argv: Sequence[str], environment: MutableMapping[str, str] = os.environ, recorded: int | None = None) -> int:
    """Choose the number of threads and put it where torch will look; call before torch is imported.

    Args:
        argv: The command line; `--threads N` in it decides.
        environment: Changed in place: OMP_WAIT_POLICY and OMP_NUM_THREADS are set.
        recorded: The number that the run to be resumed was started with. Sums depend on it in the last bit, so it is
            kept unless the command line or the environment says otherwise.

    Raises:
        SettingsError: `--threads` or OMP_NUM_THREADS is not a whole number above zero.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    threads = asked_for(argv) or _environment(environment) or recorded or idle_processors()
    environment["OMP_NUM_THREADS"] = str(threads)
    if (torch := sys.modules.get("torch")) is not None and threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    return threads


def asked_for(argv: Sequence[str]) -> int | None:
    """The number after `--threads`, if there is one."""
    for place, token in enumerate(argv):
        if token == "--threads" and place + 1 < len(argv):
            return _whole(argv[place + 1], "--threads")
        if token.startswith("--threads="):
            return _whole(token.partition("=")[2], "--threads")
    return None


def idle_processors(processors: int | None = None, load: float | None = None, quota: Path = _QUOTA) -> int:
    """How many of the processors this process may use look idle: at least 1, at most 16."""
    if processors is None:
        affinity = getattr(os, "sched_getaffinity", None)
        processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    if load is None:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    allowed = min(processors, _allowance(quota))
    return max(1, min(MOST, allowed, round(processors - load)))


def _allowance(quota: Path) -> int:
    """Processors that a container may use, by its control group; no limit reads as very many."""
    try:
        used, _, period = quota.read_text().partition(" ")
        return max(1, int(used) // int(period))
    except (OSError, ValueError):  # no control groups here, or "max"
        return sys.maxsize


def _environment(environment: Mapping[str, str]) -> int | None:
    # OpenMP itself reads a list, one number for each level of nesting; the first is ours.
    given = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return _whole(given, "OMP_NUM_THREADS") if given else None


def _whole(text: str, origin: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{origin}: {text!r} is not a number of threads. Give a whole number from 1, e.g. 2.")
    return int(text)
