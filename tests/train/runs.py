"""Small runs for the tests of training."""

from __future__ import annotations

from typing import Any

import torch

from quickstudy import MAML, SGD
from quickstudy.core.settings import settings
from quickstudy.nets import MLP
from quickstudy.tasks.fewshot import FewShotTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.sines import Sines
from quickstudy.tasks.splits import Splits
from quickstudy.train.run import RunSettings


@settings
class Dots(FewShotTasks):
    """Points around the centre of their class, in the plane."""

    def pools(self) -> Splits:
        return _POOLS


def _dots(split: int) -> Pool:
    generator = torch.Generator().manual_seed(split)
    centres = 3 * torch.randn(8, 1, 2, generator=generator)
    x = (centres + 0.3 * torch.randn(8, 20, 2, generator=generator)).flatten(0, 1)
    names = [f"{split}/{number}" for number in range(8)]
    return Pool.from_arrays(x, torch.arange(8).repeat_interleave(20), names)


_POOLS = Splits(*map(_dots, range(3)))

SOURCE = Sines().source("train")


def sine_method(seed: int = 0) -> MAML:
    torch.manual_seed(seed)
    return MAML(MLP((1,), hidden=(8,)), 1, steps=1, rule=SGD(rate=0.01), likelihood="gaussian")


def sine_run(**training: Any) -> RunSettings:
    return RunSettings.read(
        {
            "method": {"name": "maml", "steps": 1, "rule": {"name": "sgd", "rate": 0.01}},
            "tasks": "sines",
            "net": {"name": "mlp", "hidden": [8]},
            "training": {"steps": 12, "batch": 4, "schedule": "cosine", "warmup": 2} | training,
        }
    )


def weights(method: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in method.parameters()])
