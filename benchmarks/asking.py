"""How learners with convolutions of their own are asked soonest on a CPU: mapped, eight at a time, or one by one.

    python benchmarks/asking.py

Each case adapts to eight tasks and predicts their queries, as evaluation does: fine-tuning, the dearest of the floors,
and MAML, with few and many channels. Figures are milliseconds of the processor a task, the quickest of several. What
`quickstudy.core.lift.plan` chooses where nothing is asked for is marked.
"""

from __future__ import annotations

import argparse

import torch
from harness.alone import keep, milliseconds

from quickstudy import Episode, MetaLearner, over_tasks
from quickstudy.core.episode import to_device
from quickstudy.core.how import How
from quickstudy.core.lift import plan
from quickstudy.inner import Adam
from quickstudy.methods.gradient.finetune import FineTune
from quickstudy.methods.gradient.maml import MAML
from quickstudy.nets import Conv4
from quickstudy.tasks.glyphs import Glyphs

REPEATS, TASKS = 3, 8
ITEM = (1, 28, 28)


def main() -> None:
    """Time all cases, print and keep them."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = {}
    for width in (16, 32, 64):
        for shots in (1, 5):
            for name, method in methods(width).items():
                rows[f"{name}, {width} channels, {shots}-shot"] = case(method, shots)
    for name, row in rows.items():
        print(f"{name:40} mapped {row['mapped']:7.1f} ms   one by one {row['one by one']:7.1f} ms   {row['chosen']}")
    keep("asking", rows)


def methods(width: int) -> dict[str, MetaLearner]:
    """What is asked."""
    rule = Adam(rate=0.003)  # as in the floor of that name
    return {
        "fine-tuning": FineTune(Conv4(ITEM, width=width), 5, 10, adapts="all", steps=25, rule=rule),
        "MAML, pooled": MAML(Conv4(ITEM, width=width), 5),
        "MAML, strided": MAML(Conv4(ITEM, width=width, downsample="stride"), 5),
    }


def case(method: MetaLearner, shots: int) -> dict[str, float | str]:
    """Both ways, and which of them is chosen."""
    episodes = to_device(Glyphs(ways=5, shots=shots, queries=15).source("test").batch(range(TASKS)), "cpu")
    how, chunk = plan(method, episodes)
    return {
        "mapped": spent(method, episodes, "map"),
        "one by one": spent(method, episodes, "loop"),
        "chosen": "one by one" if how == "loop" else f"mapped, {chunk} at a time",
    }


def spent(method: MetaLearner, episodes: Episode, how: How) -> float:
    """Milliseconds of the processor for each task."""

    def answer(episode: Episode) -> torch.Tensor:
        found: torch.Tensor = method.predict(method.adapt(episode.support), episode.query.x).score(episode.query.y)
        return found

    with torch.no_grad():
        return round(milliseconds(lambda: over_tasks(answer, episodes, how=how), REPEATS) / TASKS, 1)


if __name__ == "__main__":
    main()
