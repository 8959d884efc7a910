"""EasyFSL 1.5.0: a loop over the tasks with its `PrototypicalNetworks`, `RelationNetworks` or `MatchingNetworks`."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from harness.settings import WIDTH, Setting
from torch import nn

from contenders.reference import body, collect, loss_of, tasks

CLASSES = {
    "protonet": ("easyfsl.methods.prototypical_networks", "PrototypicalNetworks"),
    "relation": ("easyfsl.methods.relation_networks", "RelationNetworks"),
    "matching": ("easyfsl.methods.matching_networks", "MatchingNetworks"),
}


def build(setting: Setting, arrays: dict[str, Any]) -> Any:
    if setting.method not in CLASSES:
        raise NotImplementedError(setting.method)
    _do_without_torchvision()
    module, name = CLASSES[setting.method]
    net, data = body(setting, arrays), tasks(arrays)
    if setting.method == "protonet":
        classifier = getattr(import_module(module), name)(net)
    else:  # relation networks want maps
        classifier = getattr(import_module(module), name)(
            net[:-1] if setting.method == "relation" else net, feature_dimension=WIDTH
        )

    def scored(said: Any, y: Any) -> Any:
        if setting.method == "relation":
            return (said - nn.functional.one_hot(y, setting.ways)).square().sum(1).mean()
        # its distances are not squared; the paper's, and everyone else's here, are. Matching gives log-probabilities
        return loss_of(setting, -said.square() if setting.method == "protonet" else said, y)

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            classifier.process_support_set(x, y)
            loss = scored(classifier(query_x), query_y) / len(data)
            loss.backward()
            total += loss.item()
        slopes = collect(total, net)
        classifier.zero_grad()
        return slopes

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
