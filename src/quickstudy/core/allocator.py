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

TRIM, MMAP = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""
KEPT = 2**30
"""Bytes of freed memory that stay with the process."""
LARGEST = 2**25
"""Bytes up to which a block comes from that memory: glibc takes no more."""


def prefer_huge_pages() -> None:
    """Have torch take blocks of 2 MB and more on huge pages, where Linux has them on request (`madvise`).

    This sets torch's variable `THP_MEM_ALLOC_ENABLE`, unless it is set, and comes too late once a tensor was made.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed, up to a gigabyte, for the rest of the process.

    The peak of memory is the same. Where an environment variable sets the allocator (`MALLOC_TRIM_THRESHOLD_`,
    `MALLOC_MMAP_THRESHOLD_`, `GLIBC_TUNABLES`), and on systems without glibc, nothing is changed.

    Returns:
        Whether it was changed.
    """
    chosen = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"} & os.environ.keys()
    if sys.platform != "linux" or chosen:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(TRIM, KEPT)) and bool(mallopt(MMAP, LARGEST))
