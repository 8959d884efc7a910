"""What methods measure of themselves: figures that no prediction shows, such as how nearly a problem was solved."""

from __future__ import annotations

import torch

from quickstudy.core.learner import Examined, MetaLearner
from quickstudy.core.lift import over_tasks
from quickstudy.evaluate.evaluate import batches, evaluating
from quickstudy.evaluate.protocol import Protocol
from quickstudy.evaluate.record import Figure
from quickstudy.evaluate.statistics import t_interval

__all__ = ["EPISODES", "examined"]

EPISODES = 100
"""So many of a protocol's episodes are examined, at most: enough for two digits."""


def examined(method: MetaLearner, protocol: Protocol, episodes: int = EPISODES) -> tuple[Figure, ...]:
    """The figures that a method has of itself, over the first episodes of a protocol; none for a method without.

    Tasks are taken one after the other, and the method is in evaluation mode meanwhile.

    Args:
        method: Any meta-learner.
        protocol: What is asked.
        episodes: How many, at most.
    """
    if not isinstance(method, Examined):
        return ()
    source, count = protocol.source(), min(episodes, protocol.episodes)
    found: dict[str, list[float]] = {}
    with evaluating(method), torch.no_grad():
        for _, _, batch, noise in batches(method, source, count, source.digest(range(protocol.episodes))):
            for name, values in over_tasks(method.examine, batch, *noise, how="loop").items():
                found.setdefault(name, []).extend(values.tolist())
    intervals = {name: t_interval(values) for name, values in found.items()}
    return tuple(Figure(name, each.mean, each.low, each.high) for name, each in intervals.items())
