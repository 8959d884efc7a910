"""What a process that computes much asks of the memory allocator: large pages, and to keep what it frees.

Maps of some megabytes are made and freed thousands of times a minute. The system clears every page of a new block, by
default in pages of 4 kB, and glibc gives blocks of that size back as soon as they are freed: together up to a quarter
of a training step on a CPU.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory", "prefer_huge_pages"]

TRIM, MAPPED = -1, -4
"""M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's malloc.h."""
KEPT = 2**31 - 1
"""Bytes of freed memory that stay with the process."""


def prefer_huge_pages() -> None:
    """Have torch take blocks of 2 MB and more on huge pages, where Linux has them on request (`madvise`).

    This sets torch's variable `THP_MEM_ALLOC_ENABLE`, unless it is set, and comes too late once a tensor was made.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed, up to two gigabytes, for the rest of the process.

    No block is mapped by itself, for such a one goes back to the system as soon as it is freed, whatever its size; the
    peak of memory can be higher by a fifth. Where an environment variable sets the allocator (`MALLOC_TRIM_THRESHOLD_`,
    `MALLOC_MMAP_MAX_`, `MALLOC_MMAP_THRESHOLD_`, `GLIBC_TUNABLES`), and on systems without glibc, nothing is changed.

    Returns:
        Whether it was changed.
    """
    variables = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"}
    if sys.platform != "linux" or variables & os.environ.keys():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(TRIM, KEPT)) and bool(mallopt(MAPPED, 0))
