"""JAX: `jit(value_and_grad(vmap))` of the whole meta-step, the compiled yardstick. For small nets only."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from harness.settings import Setting, weights_of


def build(setting: Setting, arrays: dict[str, Any]) -> Any:
    if setting.method != "maml" or not setting.regression or setting.order != "exact":
        raise NotImplementedError(f"{setting.method}, {setting.net}")
    jax = import_module("jax")
    numpy = jax.numpy

    def loss_at(weights: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = weights
        z = jax.nn.relu(x @ w1.T + b1)
        z = jax.nn.relu(z @ w2.T + b2)
        return ((z @ w3.T + b3 - y) ** 2).mean() + 0.5 * math.log(math.pi)

    def of_task(weights: Any, x: Any, y: Any, query_x: Any, query_y: Any) -> Any:
        for _ in range(setting.steps):
            slopes = jax.grad(loss_at)(weights, x, y)
            weights = [w - setting.rate * slope for w, slope in zip(weights, slopes, strict=True)]
        return loss_at(weights, query_x, query_y)

    def of_batch(weights: Any, *batch: Any) -> Any:
        return jax.vmap(of_task, (None, 0, 0, 0, 0))(weights, *batch).mean()

    whole = jax.jit(jax.value_and_grad(of_batch))
    weights = [numpy.asarray(w) for w in weights_of(arrays)]
    batch = [numpy.asarray(arrays[name]) for name in ("support_x", "support_y", "query_x", "query_y")]

    def step() -> Any:
        return jax.block_until_ready(whole(weights, *batch))

    return step
