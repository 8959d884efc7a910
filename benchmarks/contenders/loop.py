"""No library: the loop over tasks that one writes with torch alone."""

from __future__ import annotations

from typing import Any

import torch
from harness.settings import WIDTH, Setting
from torch import nn
from torch.func import functional_call

from contenders.reference import body, collect, head, loss_of, tasks, whole


def build(setting: Setting, arrays: dict[str, Any]) -> Any:
    made = {"maml": _maml, "r2d2": _r2d2, "relation": _relation, "cavia": _cavia}
    return made[setting.method](setting, arrays)


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


def _relation(setting: Setting, arrays: dict[str, Any]) -> Any:
    net, data = body(setting, arrays), tasks(arrays)
    torch.manual_seed(0)  # as quickstudy's relation module starts, layer by layer
    relation = nn.Sequential(
        *(nn.Conv2d(2 * WIDTH, WIDTH, 1), nn.GroupNorm(8, WIDTH), nn.ReLU()),
        *(nn.Conv2d(WIDTH, WIDTH, 1), nn.GroupNorm(8, WIDTH), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 1)),
    )

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            one_hot = nn.functional.one_hot(y, setting.ways).to(x.dtype)
            classes, z = one_hot.T @ net(x), net(query_x)
            n, k = len(z), setting.ways
            pairs = torch.cat([classes.expand(n, -1, -1), z[:, None].expand(-1, k, -1)], 2)
            scores = relation(pairs.reshape(n * k, -1, 1, 1)).view(n, k).sigmoid()
            wanted = nn.functional.one_hot(query_y, k).to(x.dtype)
            loss = (scores - wanted).square().sum(1).mean() / len(data)
            loss.backward()
            total += loss.item()
        relation.zero_grad()
        return collect(total, net)

    return step


def _cavia(setting: Setting, arrays: dict[str, Any]) -> Any:
    net, last, data = body(setting, arrays), head(setting, arrays), tasks(arrays)
    both = nn.Sequential(*net, last)
    torch.manual_seed(0)
    enter = nn.Linear(100, 2 * WIDTH, bias=False)

    def said(x: Any, context: Any) -> Any:
        z = x
        for number, layer in enumerate(net):
            z = layer(z)
            if number == 9:  # the third block's normalisation
                scale, shift = (enter.weight @ context).view(2, 1, WIDTH, 1, 1)
                z = (1 + scale) * z + shift
        return last(z)

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            context = torch.zeros(100, requires_grad=True)
            for _ in range(setting.steps):
                (slope,) = torch.autograd.grad(loss_of(setting, said(x, context), y), context, create_graph=True)
                context = context - setting.rate * slope
            loss = loss_of(setting, said(query_x, context), query_y) / len(data)
            loss.backward()
            total += loss.item()
        enter.zero_grad()
        return collect(total, both)

    return step
