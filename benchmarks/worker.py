"""One contender in a process of its own, fed turn by turn: a JSON request a line in, a JSON reply a line out.

    python benchmarks/worker.py

`race` and the scripts start it with the Python of the contender's environment.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from harness.settings import Setting, load

SCALE = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, in KiB on Linux


def main() -> None:
    # whatever a library prints goes to stderr: stdout is for replies alone
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender = Contender()
    for line in sys.stdin:
        try:
            request = json.loads(line)
            reply = getattr(contender, request.pop("do"))(**request)
        except NotImplementedError as error:
            reply = {"absent": f"does not offer {error}"}
        except Exception as error:  # whatever a peer raises is its result
            reply = {"error": f"{type(error).__name__}: {str(error)[:400]}"}
        print(json.dumps(reply | {"peak_mb": peak_mb()}), file=replies, flush=True)


class Contender:
    """What a worker can be asked to do."""

    def __init__(self) -> None:
        self.step: Callable[[], Any] | None = None

    def build(self, module: str, setting: dict[str, Any], arrays: str, options: dict[str, Any]) -> dict[str, Any]:
        """Make the step, without taking one; the peak memory replied is that of the libraries and the net."""
        _one_thread()
        start = time.perf_counter()
        numbers = load(arrays)
        self.step = import_module(f"contenders.{module}").build(Setting(**setting), numbers, **options)
        return {"seconds": time.perf_counter() - start}

    def double(
        self, module: str, setting: dict[str, Any], arrays: str, options: dict[str, Any], to: str
    ) -> dict[str, Any]:
        """The loss and the gradients in float64, of the first two tasks: whether the mathematics is the same."""
        import torch

        _one_thread()
        short = setting | {"tasks": min(2, setting["tasks"])}
        numbers = {
            name: (value[:2] if name.endswith(("_x", "_y")) else value).astype(_widened(value.dtype))
            for name, value in load(arrays).items()
        }
        torch.set_default_dtype(torch.float64)
        try:
            self.step = import_module(f"contenders.{module}").build(Setting(**short), numbers, **options)
            return self.result(to)
        finally:
            torch.set_default_dtype(torch.float32)

    def result(self, to: str) -> dict[str, Any]:
        """One step, its gradients left in a file."""
        start = time.perf_counter()
        loss, slopes = self._step()
        flat = [np.asarray(slope, dtype=np.float64).ravel() for slope in slopes]
        np.save(to, np.concatenate(flat))
        return {"loss": float(loss), "seconds": time.perf_counter() - start}

    def turn(self, times: int) -> dict[str, Any]:
        """CPU and wall seconds of a step, over so many."""
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(times):
            self._step()
        return {"cpu": (time.process_time() - cpu) / times, "wall": (time.perf_counter() - wall) / times}

    def each(self, times: int) -> dict[str, Any]:
        """Wall milliseconds of each of so many steps."""
        found = []
        for _ in range(times):
            start = time.perf_counter()
            self._step()
            found.append(1e3 * (time.perf_counter() - start))
        return {"ms": found}

    def _step(self) -> Any:
        assert self.step is not None, "build comes first"
        return self.step()


def _one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _widened(dtype: Any) -> Any:
    return np.float64 if dtype.kind == "f" else dtype


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / SCALE


if __name__ == "__main__":
    main()
