"""parallel-metalearn 0.5.6: its `MAML.step`, all tasks under one `vmap`. Its outer step is of size 0."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from harness.settings import Setting
from torch import nn

from contenders.reference import body, collect, head, loss_of, tasks


class _Deaf(nn.Module):
    """A module that takes the wrapper's extra arguments and overlooks them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Any, **_: Any) -> Any:
        return self.module(x)


def build(setting: Setting, arrays: dict[str, Any]) -> Any:
    if setting.method != "maml":
        raise NotImplementedError(setting.method)
    library = import_module("metalearn.algorithms")
    wrapper = import_module("metalearn.model_wrappers").MAML_Model
    base = import_module("metalearn.loss.base").BaseLoss
    rule = import_module("metalearn.inner_optimizers").InnerSGD

    class Loss(base):  # type: ignore[misc, valid-type]
        def forward(self, out_dict: Any, targets: Any, model_states: Any = None, **_: Any) -> Any:
            loss = loss_of(setting, out_dict["logits"], targets)
            return loss, loss.detach()

    net = wrapper(backbone=_Deaf(body(setting, arrays)), head=_Deaf(head(setting, arrays)))
    inner = rule(
        initial_fast_weights=net.get_fast_weights(),
        first_order=setting.order == "first-order",
        inner_lr=setting.rate,
        max_inner_steps=setting.steps,
        learn_lr=False,
    )
    algorithm = library.MAML(
        model=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.0),
        inner_optimizer=inner,
        support_loss_fn=Loss(),
        inner_steps=setting.steps,
        chunk_size=setting.tasks,
    )
    batch = tuple(torch.stack(part) for part in zip(*tasks(arrays), strict=True))

    def step() -> Any:
        loss, _ = algorithm.step(iter([batch]), training=True)
        return collect(loss, net)

    return step
