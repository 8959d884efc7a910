"""A meta-step by quickstudy and by its peers: same net, weights, data, steps and precision, turn by turn in one run.

    python benchmarks/steps.py                      # all of them
    python benchmarks/steps.py --only conv4-exact
    python benchmarks/steps.py --quick              # one round of tiny batches: does it run?

Losses and meta-gradients are compared before anything is timed. The first row of each part is the reference: ratios
are the other's time over its time, round by round.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

from harness.environments import Environments
from harness.race import Contender, race
from harness.results import write
from harness.settings import Setting

OURS = Contender("quickstudy", "quickstudy")
BF16 = {"bf16": True}
LOOPS = [Contender("learn2learn", "learn2learn"), Contender("higher", "higher"), Contender("TorchOpt", "torchopt")]
METALEARN = Contender("parallel-metalearn", "metalearn")
PLAIN = Contender("plain torch loop", "loop")
CONV4_OPTIONS = [
    Contender("quickstudy, channels last", "quickstudy", options={"channels_last": True}),
    Contender("quickstudy, support statistics", "quickstudy", options={"norm": "support"}, same_maths=False),
    Contender("quickstudy, bf16", "quickstudy", options=BF16, same_maths=False),
    Contender(
        "quickstudy, bf16, channels last", "quickstudy", options=BF16 | {"channels_last": True}, same_maths=False
    ),
]
FAST = CONV4_OPTIONS[-1]
ONE_TASK = {"compiled": True, "how": "loop"}
"""A graph of a single task, taken for each: one of several takes as many times longer to compile."""
COMPILED = [
    Contender("quickstudy, compiled", "quickstudy", options=ONE_TASK),
    dataclasses.replace(FAST, name=f"{FAST.name}, compiled", options=FAST.options | ONE_TASK),
]
FAST_COMPILED = dataclasses.replace(FAST, name=f"{FAST.name}, compiled", options=FAST.options | {"compiled": True})
EASYFSL = Contender("EasyFSL", "easyfsl")
EASYFSL_ALIKE = dataclasses.replace(EASYFSL, same_maths=False)
CVXPY = Contender("loop with cvxpylayers", "cvxpylayers", same_maths=False)
L2L_BF16 = Contender("learn2learn, bf16", "learn2learn", options=BF16, same_maths=False)

PARTS: dict[str, tuple[Setting, list[Contender], int]] = {
    "conv4-exact": (Setting(), [OURS, *CONV4_OPTIONS, *COMPILED, *LOOPS, L2L_BF16, PLAIN], 5),
    "conv4-first-order": (Setting(order="first-order"), [OURS, *CONV4_OPTIONS, *COMPILED, *LOOPS[:2], L2L_BF16], 7),
    "sines": (
        Setting(net="mlp", tasks=25, ways=1, shots=10, queries=10, rate=0.01),
        [
            OURS,
            Contender("quickstudy, compiled", "quickstudy", options={"compiled": True}, double=False),
            *LOOPS,
            PLAIN,
            METALEARN,
            Contender("JAX, jit", "jax", "jax", double=False),
        ],
        21,
    ),
    "anil": (Setting(method="anil"), [OURS, FAST, FAST_COMPILED, LOOPS[0]], 9),
    "cavia": (Setting(method="cavia", steps=2), [OURS, FAST, FAST_COMPILED, PLAIN], 9),
    "protonet": (Setting(method="protonet"), [OURS, FAST, FAST_COMPILED, LOOPS[0], EASYFSL], 9),
    "matching": (Setting(method="matching"), [OURS, FAST, FAST_COMPILED, EASYFSL_ALIKE], 9),
    "relation": (Setting(method="relation"), [OURS, FAST, FAST_COMPILED, PLAIN, EASYFSL_ALIKE], 9),
    "r2d2": (Setting(method="r2d2"), [OURS, FAST, FAST_COMPILED, PLAIN], 9),
    "metaoptnet": (Setting(method="metaoptnet"), [OURS, FAST, FAST_COMPILED, CVXPY], 9),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="this part alone; may be repeated")
    parser.add_argument("--rounds", type=int, help="instead of each part's own number")
    parser.add_argument("--quick", action="store_true", help="one round of tiny batches")
    asked = parser.parse_args()
    environments = Environments()
    environments.install()
    for part in asked.only or PARTS:
        setting, contenders, rounds = PARTS[part]
        if asked.quick:
            setting = dataclasses.replace(setting, tasks=2, steps=2)
        print(f"{part}: {rounds if not asked.quick else 1} rounds", file=sys.stderr, flush=True)
        found = race(setting, contenders, environments, rounds=asked.rounds or (1 if asked.quick else rounds))
        for row in found["rows"]:
            print(f"  {row['name']}: {said(row)}", flush=True)
        print(f"  -> {write(part, found, environments, asked.quick)}", flush=True)
    return 0


def said(row: dict) -> str:  # type: ignore[type-arg]
    if "skipped" in row:
        return f"skipped: {row['skipped']}"
    cpu, double = row["cpu_ratio"], row.get("gradient_apart_float64")
    apart = f"{row['gradient_apart']:.1e}" + ("" if double is None else f" ({double:.1e} in float64)")
    ratio = f"{cpu['median']:.2f} ({cpu['low']:.2f} to {cpu['high']:.2f})"
    return f"{row['cpu_ms']['median']:.1f} ms CPU, {ratio} times the first row's; gradient {apart} apart"


if __name__ == "__main__":
    sys.exit(main())
