"""Small runs for the tests of training."""

from __future__ import annotations

from typing import Any

import torch

from quickstudy import MAML, SGD
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines
from quickstudy.train.run import RunSettings

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
