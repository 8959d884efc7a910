"""One benchmark problem: what is computed, and the numbers that every contender is given.

Needs numpy alone, for not every environment has torch.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["WIDTH", "Setting", "draw", "load", "save"]

WIDTH, HIDDEN, SIDE = 64, 40, 28

Arrays = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One meta-step: a method over a batch of tasks."""

    method: str = "maml"
    """maml, anil, cavia, protonet, matching, relation, r2d2 or metaoptnet."""
    net: str = "conv4"
    """conv4: four blocks of 3x3 convolution with 64 channels, batch norm, ReLU and max-pooling, on 28x28 grey images;
    mlp: 40-40 with ReLU, on one number."""
    tasks: int = 16
    ways: int = 5
    """Classes of a task; 1 for regression."""
    shots: int = 1
    queries: int = 15
    """Query examples a class."""
    steps: int = 5
    rate: float = 0.1
    """Inner step size."""
    order: str = "exact"
    """exact or first-order."""

    @property
    def regression(self) -> bool:
        return self.net == "mlp"


def draw(setting: Setting, seed: int = 0) -> Arrays:
    """Weights w0, w1, ... in the order of the net's layers (then the head's) and tasks, all float32.

    Images are random ones with a coarse pattern to each class; regression tasks are sines.
    """
    chance = np.random.default_rng(seed)
    arrays: Arrays = {f"w{i}": w.astype(np.float32) for i, w in enumerate(_weights(setting, chance))}
    if setting.regression:
        amplitude, phase = (
            chance.uniform(0.1, 5, (setting.tasks, 1, 1)),
            chance.uniform(0, np.pi, (setting.tasks, 1, 1)),
        )
        for part, count in (("support", setting.shots), ("query", setting.queries)):
            x = chance.uniform(-5, 5, (setting.tasks, count, 1))
            arrays[f"{part}_x"], arrays[f"{part}_y"] = (
                x.astype(np.float32),
                (amplitude * np.sin(x - phase)).astype("f4"),
            )
        return arrays
    pattern = chance.random((setting.tasks, setting.ways, 7, 7))
    for part, each in (("support", setting.shots), ("query", setting.queries)):
        labels = np.tile(np.arange(setting.ways), each)
        small = pattern[:, labels] + 0.3 * chance.random((setting.tasks, len(labels), 7, 7))
        large = small.repeat(4, 2).repeat(4, 3)
        # pixels all differ: where they tie, a maximum has no derivative that all must agree on
        large += 0.2 * chance.random(large.shape)
        arrays[f"{part}_x"] = large[:, :, None].astype(np.float32)
        arrays[f"{part}_y"] = np.broadcast_to(labels, (setting.tasks, len(labels))).astype(np.int64)
    return arrays


def _weights(setting: Setting, chance: np.random.Generator) -> list[Any]:
    if setting.regression:
        shapes = [(HIDDEN, 1), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN,)]
        body = [_uniform(chance, shape, shape[1] if len(shape) == 2 else HIDDEN) for shape in shapes]
        return [*body, _uniform(chance, (1, HIDDEN), HIDDEN), np.zeros(1)]
    layers: list[Any] = []
    for fan_in in (1, WIDTH, WIDTH, WIDTH):
        layers += [_uniform(chance, (WIDTH, fan_in, 3, 3), 9 * fan_in), np.ones(WIDTH), np.zeros(WIDTH)]
    if setting.method in ("maml", "anil", "cavia"):
        layers += [0.01 * chance.standard_normal((setting.ways, WIDTH)), np.zeros(setting.ways)]
    return layers


def _uniform(chance: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> Any:
    return chance.uniform(-1, 1, shape) / np.sqrt(fan_in)


def save(path: Path, arrays: Arrays) -> None:
    np.savez(path, **arrays)


def load(path: str | Path) -> Arrays:
    with np.load(path) as archive:
        return dict(archive)


def weights_of(arrays: Arrays) -> list[Any]:
    return [arrays[f"w{i}"] for i in range(sum(name.startswith("w") for name in arrays))]
