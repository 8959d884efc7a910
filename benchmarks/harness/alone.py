"""What is timed or measured alone, with no contender beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from harness.results import FOLDER, machine

__all__ = ["keep", "milliseconds"]


def milliseconds(act: Callable[[], object], repeats: int) -> float:
    """Of the processor, the quickest of several."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        act()
        found.append(time.process_time() - start)
    return 1e3 * min(found)


def keep(part: str, rows: Any, **facts: Any) -> None:
    """Write the rows of one part, with the machine and other facts that they depend on."""
    path = FOLDER / f"{part}.json"
    whole = {"part": part, "machine": machine()} | facts | {"rows": rows}
    path.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"-> {path}")
