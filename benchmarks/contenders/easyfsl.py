"""EasyFSL 1.5.0: a loop over the tasks with `PrototypicalNetworks`."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from harness.settings import Setting
from torch import nn

from contenders.reference import body, collect, loss_of, tasks


def build(setting: Setting, arrays: dict[str, Any]) -> Any:
    if setting.method != "protonet":
        raise NotImplementedError(setting.method)
    _do_without_torchvision()
    method = import_module("easyfsl.methods.prototypical_networks").PrototypicalNetworks
    net, data = body(setting, arrays), tasks(arrays)
    classifier = method(net)

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            classifier.process_support_set(x, y)
            # its scores are distances; the paper's, and everyone else's here, are squared distances
            loss = loss_of(setting, -classifier(query_x).square(), query_y) / len(data)
            loss.backward()
            total += loss.item()
        return collect(total, net)

    return step


class _Nothing(ModuleType):
    """A module that has a class of any name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {"expansion": 1})


def _do_without_torchvision() -> None:
    """Its ResNets, which are not used here, inherit from torchvision, which does not load beside a CPU torch."""
    for name in ("torchvision", "torchvision.models", "torchvision.models.resnet"):
        module = sys.modules[name] = _Nothing(name)
        module.__path__ = []
