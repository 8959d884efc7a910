"""No library: the loop over tasks that one writes with torch alone."""

from __future__ import annotations

from typing import Any

import torch
from harness.settings import Setting
from torch.func import functional_call

from contenders.reference import body, collect, loss_of, tasks, whole


def build(setting: Setting, arrays: dict[str, Any]) -> Any:
    return {"maml": _maml, "r2d2": _r2d2}[setting.method](setting, arrays)


def _maml(setting: Setting, arrays: dict[str, Any]) -> Any:
    net, data = whole(setting, arrays), tasks(arrays)
    exact = setting.order == "exact"

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            at = dict(net.named_parameters())
            for _ in range(setting.steps):
                loss = loss_of(setting, functional_call(net, at, (x,)), y)
                slopes = torch.autograd.grad(loss, list(at.values()), create_graph=exact)
                at = {name: w - setting.rate * slope for (name, w), slope in zip(at.items(), slopes, strict=True)}
            loss = loss_of(setting, functional_call(net, at, (query_x,)), query_y) / len(data)
            loss.backward()
            total += loss.item()
        return collect(total, net)

    return step


def _r2d2(setting: Setting, arrays: dict[str, Any]) -> Any:
    net, data = body(setting, arrays), tasks(arrays)

    def embed(x: Any) -> Any:
        z = net(x)
        return torch.cat([z, z.new_ones(len(z), 1)], 1)

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            z = embed(x)
            targets = torch.nn.functional.one_hot(y, setting.ways).to(z.dtype)
            weight = z.T @ torch.linalg.solve(z @ z.T + torch.eye(len(z)), targets)
            loss = loss_of(setting, 10.0 * embed(query_x) @ weight, query_y) / len(data)
            loss.backward()
            total += loss.item()
        return collect(total, net)

    return step
