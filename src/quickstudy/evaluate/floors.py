"""What every result must beat, on the very same episodes.

How floors are made is data in `quickstudy.registry.FLOORS`; training the conventional ones is `quickstudy.train`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from quickstudy.core.how import AskedHow
from quickstudy.core.learner import MetaLearner
from quickstudy.core.workers import Workers
from quickstudy.evaluate.evaluate import evaluate
from quickstudy.evaluate.protocol import Protocol
from quickstudy.evaluate.record import Result

__all__ = ["evaluate_floors"]


def evaluate_floors(
    methods: Iterable[tuple[str, MetaLearner]],
    protocol: Protocol,
    *,
    device: torch.device | str | None = None,
    how: AskedHow = "auto",
    progress: Callable[[str, int, int], None] | None = None,
    workers: Workers | None = None,
) -> tuple[Result, ...]:
    """The result of each named method on the episodes of the protocol.

    Args:
        methods: Names and methods, trained where they are to be; taken one by one, so a generator may train them.
        protocol: What is asked.
        device: Where to run; None leaves each method where it is.
        how: As in `answer`.
        progress: Called with the name, the episodes done and their total, after every batch.
        workers: As in `answer`.
    """

    def one(name: str, method: MetaLearner) -> Result:
        def report(done: int, total: int) -> None:
            if progress is not None:
                progress(name, done, total)

        return evaluate(method, protocol, name=name, device=device, how=how, progress=report, workers=workers)

    return tuple(one(name, method) for name, method in methods)
