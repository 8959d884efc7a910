"""What methods measure of themselves: figures that no prediction shows, such as how nearly a problem was solved."""

from __future__ import annotations

import torch

from quickstudy.core.episode import to_device
from quickstudy.core.learner import Examined, MetaLearner
from quickstudy.core.lift import over_tasks
from quickstudy.evaluate.evaluate import BATCH, draw, noise_for, place_of
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
    digest, (device, dtype) = source.digest(range(protocol.episodes)), place_of(method)
    found: dict[str, list[float]] = {}
    was_training = method.training
    method.eval()
    try:
        for start in range(0, count, BATCH):
            for indices, drawn in draw(source, range(start, min(start + BATCH, count))):
                noise = noise_for(method, digest, indices)
                with torch.no_grad():
                    said = over_tasks(method.examine, to_device(drawn, device, dtype), *noise, how="loop")
                for name, values in said.items():
                    found.setdefault(name, []).extend(values.tolist())
    finally:
        method.train(was_training)
    intervals = {name: t_interval(values) for name, values in found.items()}
    return tuple(Figure(name, each.mean, each.low, each.high) for name, each in intervals.items())
