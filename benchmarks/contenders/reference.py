"""The nets and losses of the PyTorch peers, of torch's own layers, so that nothing of quickstudy is on their side."""

from __future__ import annotations

import math
from typing import Any

import torch
from harness.settings import HIDDEN, WIDTH, Setting, weights_of
from torch import Tensor, nn

__all__ = ["body", "loss_of", "tasks", "whole"]

CONSTANT = 0.5 * math.log(math.pi)
"""The likelihood's constant, which quickstudy adds to the squared error."""


def body(setting: Setting, arrays: dict[str, Any]) -> nn.Sequential:
    """The net without its head. Batch norm has no running statistics: it normalises by the batch at hand."""
    layers: list[nn.Module] = []
    if setting.regression:
        layers = [nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
    else:
        for fan_in in (1, WIDTH, WIDTH, WIDTH):
            norm = nn.BatchNorm2d(WIDTH, track_running_stats=False)
            layers += [nn.Conv2d(fan_in, WIDTH, 3, padding=1, bias=False), norm, nn.ReLU(), nn.MaxPool2d(2)]
        layers.append(nn.Flatten())
    net = nn.Sequential(*layers)
    fill(net, weights_of(arrays))
    return net


def head(setting: Setting, arrays: dict[str, Any]) -> nn.Linear:
    layer = nn.Linear(HIDDEN, 1) if setting.regression else nn.Linear(WIDTH, setting.ways)
    fill(layer, weights_of(arrays)[-2:])
    return layer


def whole(setting: Setting, arrays: dict[str, Any]) -> nn.Sequential:
    """Body and head."""
    return nn.Sequential(*body(setting, arrays), head(setting, arrays))


def fill(net: nn.Module, weights: list[Any]) -> None:
    with torch.no_grad():
        for mine, given in zip(net.parameters(), weights, strict=False):  # the head's come last and may be left over
            mine.copy_(torch.from_numpy(given))


def tasks(arrays: dict[str, Any]) -> list[tuple[Tensor, ...]]:
    """Each task's support inputs, support targets, query inputs and query targets."""
    parts = [torch.from_numpy(arrays[name]) for name in ("support_x", "support_y", "query_x", "query_y")]
    return list(zip(*parts, strict=True))


def loss_of(setting: Setting, said: Tensor, y: Tensor) -> Tensor:
    if setting.regression:
        return nn.functional.mse_loss(said, y) + CONSTANT
    return nn.functional.cross_entropy(said, y)


def collect(total: float, net: nn.Module) -> tuple[float, list[Any]]:
    """The loss and the gradients left in the net, which are taken from it."""
    slopes = [w.grad.detach() if w.grad is not None else torch.zeros_like(w) for w in net.parameters()]
    for w in net.parameters():
        w.grad = None
    return total, slopes
