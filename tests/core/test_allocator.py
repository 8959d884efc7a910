"""What a process asks of the allocator: counted in pages that the system has to clear."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has these settings")

FAULTS = """
import resource
from quickstudy.core.allocator import keep_freed_memory, prefer_huge_pages
{ask}
import torch
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
sizes = [2**20, 2**21, 12 * 2**20]
for _ in range(3):
    [torch.ones(size) for size in sizes]
before = faults()
for _ in range(10):
    [torch.ones(size) for size in sizes]
print(faults() - before)
"""
PAGES = 10 * 4 * 15 * 2**20 // 4096
"""Of 4 kB, in the blocks of ten rounds."""


def faults(ask: str, **environment: str) -> int:
    """Page faults of ten rounds of large blocks, in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "THP_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(ask=ask)],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_freed_memory_is_kept():
    assert faults("assert keep_freed_memory()") < PAGES / 5


def test_the_environment_wins():
    """Who has set the allocator gets what was set."""
    found = faults("assert not keep_freed_memory()", MALLOC_MMAP_THRESHOLD_=str(2**17))
    assert found > PAGES / 2


def test_blocks_are_taken_on_huge_pages_where_linux_has_them():
    offered = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not offered.exists() or "[madvise]" not in offered.read_text():
        pytest.skip("huge pages are not on request here")
    returning = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
    assert faults("prefer_huge_pages()", **returning) < faults("", **returning) / 3


def test_a_chosen_page_size_is_kept(monkeypatch: pytest.MonkeyPatch):
    from quickstudy.core.allocator import prefer_huge_pages

    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    prefer_huge_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"
