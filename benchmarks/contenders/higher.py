"""higher 0.2.1: a loop over the tasks with `innerloop_ctx`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from harness.settings import Setting

from contenders.reference import collect, loss_of, tasks, whole


def build(setting: Setting, arrays: dict[str, Any]) -> Any:
    if setting.method != "maml":
        raise NotImplementedError(setting.method)
    library = import_module("higher")
    net, data = whole(setting, arrays), tasks(arrays)
    optimizer = torch.optim.SGD(net.parameters(), lr=setting.rate)
    exact = setting.order == "exact"

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            options = {"copy_initial_weights": not exact, "track_higher_grads": exact}
            with library.innerloop_ctx(net, optimizer, **options) as (fast, descent):
                for _ in range(setting.steps):
                    descent.step(loss_of(setting, fast(x), y))
                loss = loss_of(setting, fast(query_x), query_y) / len(data)
                if exact:
                    loss.backward()
                else:
                    for w, slope in zip(net.parameters(), torch.autograd.grad(loss, fast.parameters()), strict=True):
                        w.grad = slope if w.grad is None else w.grad.add_(slope)
            total += loss.item()
        return collect(total, net)

    return step
