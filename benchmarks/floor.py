"""How much of a meta-step is convolution: the floor under exact and first-order MAML on Conv-4, counted and measured.

    python benchmarks/floor.py
    python benchmarks/floor.py --quick

One task, five-way one-shot, 15 queries a class, 5 inner steps. The convolutions that the mathematics asks for are
counted layer by layer (a slope, its Hessian-vector product, the query's gradient), and each kind is timed alone with
the quickest that torch offers on this machine: channels first, channels last, or a product of patches. Their sum is
what a step would take if normalisation, pooling, losses, updates and Python were free. In the same rounds quickstudy's
whole step is timed, so that the share is of one run. A profile of the step says what it does spend, operation by
operation: on convolutions as executed, on products (of patches, in the first layer), on pooling, and on all the rest.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from contenders.quickstudy import build
from harness.environments import Environments
from harness.results import write
from harness.settings import WIDTH, Setting, draw

SIDES = (28, 14, 7, 3)
SUPPORT, QUERY, STEPS = 5, 75, 5
BACK = torch.ops.aten.convolution_backward
Count = tuple[str, int, int]
"""Kind of convolution (forward, input or weight), layer, and images at a time."""


def counts(order: str) -> dict[Count, int]:
    """How often each convolution is needed for one task.

    A slope takes one forward and two backward convolutions a layer, but none to the image. Its derivative along a
    direction takes two of each, for both factors of every product move; in the first layer the images do not.
    """
    found: dict[Count, int] = {}
    for layer in range(4):
        first = layer == 0
        exact = {"forward": 1 if first else 2, "input": 0 if first else 2, "weight": 1 if first else 2}
        plain = {"forward": 1, "input": 0 if first else 1, "weight": 1}
        for kind, each in plain.items():
            more = exact[kind] if order == "exact" else 0
            found[kind, layer, SUPPORT] = STEPS * (each + more)
            found[kind, layer, QUERY] = each
    return {what: number for what, number in found.items() if number}


def flops(count: Count) -> int:
    _, layer, images = count
    return 2 * images * SIDES[layer] ** 2 * WIDTH * 9 * (1 if layer == 0 else WIDTH)


def ways_of(count: Count, dtype: torch.dtype) -> list[Callable[[], Any]]:
    """The ways that torch has for a convolution."""
    kind, layer, images = count
    channels, side = (1 if layer == 0 else WIDTH), SIDES[layer]
    ways: list[Callable[[], Any]] = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(images, channels, side, side, dtype=dtype).to(memory_format=layout)
        y = torch.randn(images, WIDTH, side, side, dtype=dtype).to(memory_format=layout)
        w = torch.randn(WIDTH, channels, 3, 3, dtype=dtype).to(memory_format=layout)
        if kind == "forward":
            ways.append(lambda x=x, w=w: F.conv2d(x, w, padding=1))
            continue
        wanted = [kind == "input", kind == "weight", False]
        rest = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted)
        ways.append(lambda x=x, y=y, w=w, rest=rest: BACK(y, x, w, *rest))
    patches, maps = torch.randn(images * side**2, 9 * channels, dtype=dtype), torch.randn(images * side**2, WIDTH)
    weight, maps = torch.randn(9 * channels, WIDTH, dtype=dtype), maps.to(dtype)
    products = {
        "forward": lambda: patches @ weight,  # without the time that it takes to lay the patches out
        "input": lambda: maps @ weight.T,
        "weight": lambda: patches.T @ maps,
    }
    return [*ways, products[kind]]


def seconds(do: Callable[[], Any], least: float = 0.02) -> float:
    """CPU seconds of one call."""
    times, spent = 0, 0.0
    do()
    start = time.process_time()
    while spent < least:
        do()
        times, spent = times + 1, time.process_time() - start
    return spent / times


KINDS = {
    "convolutions": ("conv",),
    "products": ("::mm", "::bmm", "::addmm", "::baddbmm", "mkldnn_linear"),
    "pooling": ("max_pool",),
}
"""What operations are called, by kind."""


def profiled(step: Callable[[], Any], tasks: int) -> dict[str, float]:
    """Milliseconds a task that a step spends in operations of each kind, without Python between them."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        step()
    spent = dict.fromkeys((*KINDS, "the rest"), 0.0)
    for each in found.key_averages():
        if each.key.startswith("aten::"):
            kind = next((kind for kind, names in KINDS.items() if any(name in each.key for name in names)), "the rest")
            spent[kind] += each.self_cpu_time_total / 1e3 / tasks
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round: does it run?")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for order in ("exact", "first-order"):
        for precision in ("float32", "bf16"):
            row = share(order, precision, 1 if asked.quick else asked.rounds)
            rows.append(row)
            print(
                f"  {order}, {precision}: convolutions {row['floor_ms']:.1f} of {row['step_ms']:.1f} ms a task "
                f"({row['gflop']:.2f} GFLOP); as executed {row['profile_ms']}",
                flush=True,
            )
    print(f"  -> {write('floor', {'rows': rows}, Environments(), asked.quick)}")
    return 0


def share(order: str, precision: str, rounds: int) -> dict[str, Any]:
    """The floor and the whole step, round by round."""
    setting = Setting(order=order, tasks=4, queries=QUERY // 5, steps=STEPS)
    narrow = precision == "bf16"
    step = build(setting, draw(setting), bf16=narrow, channels_last=narrow)
    needed = counts(order)
    ways = {what: ways_of(what, torch.bfloat16 if narrow else torch.float32) for what in needed}
    floors, steps = [], []
    step()
    for _ in range(rounds):
        with torch.no_grad():
            floors.append(sum(n * min(seconds(do) for do in ways[what]) for what, n in needed.items()))
        steps.append(seconds(step, 1.0) / setting.tasks)
    gflop = sum(n * flops(what) for what, n in needed.items()) / 1e9
    floor_ms, step_ms = 1e3 * median(floors), 1e3 * median(steps)
    return {
        "order": order,
        "precision": precision,
        "gflop": gflop,
        "convolutions": sum(needed.values()),
        "floor_ms": floor_ms,
        "step_ms": step_ms,
        "share": floor_ms / step_ms,
        "profile_ms": profiled(step, setting.tasks),
    }


if __name__ == "__main__":
    sys.exit(main())
