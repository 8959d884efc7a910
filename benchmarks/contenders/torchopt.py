"""TorchOpt 0.7.3: a loop over the tasks with `MetaSGD`, the net set back after each."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from harness.settings import Setting

from contenders.reference import collect, loss_of, tasks, whole


def build(setting: Setting, arrays: dict[str, Any]) -> Any:
    if setting.method != "maml" or setting.order != "exact":
        raise NotImplementedError(f"{setting.method}, {setting.order}")
    library = import_module("torchopt")
    net, data = whole(setting, arrays), tasks(arrays)
    leaves = list(net.parameters())
    inner = library.MetaSGD(net, lr=setting.rate)
    start, rule = library.extract_state_dict(net), library.extract_state_dict(inner)

    def step() -> Any:
        total = 0.0
        for x, y, query_x, query_y in data:
            for _ in range(setting.steps):
                inner.step(loss_of(setting, net(x), y))
            loss = loss_of(setting, net(query_x), query_y) / len(data)
            loss.backward()
            library.recover_state_dict(net, start)
            library.recover_state_dict(inner, rule)
            total += loss.item()
        assert all(a is b for a, b in zip(leaves, net.parameters(), strict=True))
        return collect(total, net)

    return step
