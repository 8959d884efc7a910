"""learn2learn 0.2.0, as its examples use it: a loop over the tasks with `MAML(net).clone().adapt(loss)`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from harness.settings import Setting
from torch import nn

from contenders.reference import body, collect, head, loss_of, tasks, whole

SOURCES = Path(sys.prefix) / "sources" / "learn2learn-0.2.0"


def reach() -> None:
    """Make parts of learn2learn importable without its own `__init__`, which wants gym, qpth and a torchvision that
    does not load beside a CPU build of torch."""
    for name in ("learn2learn", "learn2learn.algorithms", "learn2learn.nn", "learn2learn.vision"):
        package = ModuleType(name)
        package.__path__ = [str(SOURCES / name.replace(".", "/"))]
        sys.modules[name] = package


def build(setting: Setting, arrays: dict[str, Any], bf16: bool = False) -> Any:
    reach()
    make = {"maml": _maml, "anil": _anil, "protonet": _protonet}[setting.method]
    step = make(setting, arrays)

    def cast() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return step()

    return cast


def _maml(setting: Setting, arrays: dict[str, Any]) -> Any:
    from learn2learn.algorithms.maml import MAML

    net, data = whole(setting, arrays), tasks(arrays)
    maml = MAML(net, lr=setting.rate, first_order=setting.order == "first-order")

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            learner = maml.clone()
            for _ in range(setting.steps):
                learner.adapt(loss_of(setting, learner(x), y))
            loss = loss_of(setting, learner(query_x), query_y) / len(data)
            loss.backward()
            total += loss.item()
        return collect(total, net)

    return step


def _anil(setting: Setting, arrays: dict[str, Any]) -> Any:
    from learn2learn.algorithms.maml import MAML

    features, last, data = body(setting, arrays), head(setting, arrays), tasks(arrays)
    maml, both = MAML(last, lr=setting.rate, first_order=False), nn.Sequential(features, last)

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            learner = maml.clone()
            z = features(x)
            for _ in range(setting.steps):
                learner.adapt(loss_of(setting, learner(z), y))
            loss = loss_of(setting, learner(features(query_x)), query_y) / len(data)
            loss.backward()
            total += loss.item()
        return collect(total, both)

    return step


def _protonet(setting: Setting, arrays: dict[str, Any]) -> Any:
    from learn2learn.nn.protonet import PrototypicalClassifier

    net, data = body(setting, arrays), tasks(arrays)

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            classifier = PrototypicalClassifier()
            classifier.fit_(net(x), y)
            loss = loss_of(setting, classifier(net(query_x)), query_y) / len(data)
            loss.backward()
            total += loss.item()
        return collect(total, net)

    return step
