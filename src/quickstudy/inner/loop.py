"""The one inner-loop engine: step down a task's loss, and know what the start has to do with the end.

The exact meta-gradient is taken in mixed mode (Kemaev et al. 2025, "Scalable meta-learning via mixed-mode
differentiation"): a step keeps only its parameters, and on the way back its cotangent is pushed through one
forward-over-reverse Hessian-vector product. The activations of a step are never kept, so peak memory does not grow
with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from quickstudy.core import tree
from quickstudy.core.shapes import Tensor
from quickstudy.errors import SettingsError
from quickstudy.inner.rules import Params, Rule

__all__ = ["Gradient", "unroll"]

Gradient = Literal["exact", "first-order", "unrolled"]
"""How the end of an inner loop depends on its start.

- exact: the true derivative, by mixed-mode differentiation; memory flat in the activations of the steps;
- first-order: slopes are taken as constants, as in FOMAML;
- unrolled: the true derivative, by backpropagation through the stored steps; for few steps and for comparison.
"""

Loss = Callable[..., Tensor]


def unroll(
    loss: Loss,
    params: Params,
    data: tuple[Any, ...],
    *,
    rule: Rule,
    steps: int,
    gradient: Gradient = "exact",
    learned: Params | None = None,
) -> list[Params]:
    """The parameters before, between and after `steps` steps down `loss`: `steps + 1` of them.

    Args:
        loss: A pure function `loss(params, *data)` to a scalar. It must not close over tensors of the task: under
            `vmap` only what is passed is mapped, and only what is passed gets a meta-gradient.
        params: Where the steps start.
        data: What the loss is computed from (a support set, the weights that do not adapt). Meta-gradients flow to
            every floating-point tensor in it.
        rule: How a slope becomes a step.
        steps: How many steps, 0 or more.
        gradient: "exact", "first-order" or "unrolled".
        learned: The rule's meta-learned tensors, by default where `rule.learned` starts them.
    """
    slope_of = _SLOPES.get(gradient)
    if slope_of is None:
        raise SettingsError(f"gradient={gradient!r}: an inner loop is differentiated by {', '.join(_SLOPES)}.")
    learned = rule.learned(params) if learned is None else learned
    state = rule.start(params)
    path = [params]
    for _ in range(steps):
        params, state = rule.step(params, slope_of(loss, params, data), state, learned)
        path.append(params)
    return path


def _unrolled_slope(loss: Loss, params: Params, data: tuple[Any, ...]) -> Params:
    slope: Params = torch.func.grad(loss)(params, *data)
    return slope


def _first_order_slope(loss: Loss, params: Params, data: tuple[Any, ...]) -> Params:
    params, data = tree.map_leaves(torch.Tensor.detach, (params, data))
    return tree.map_leaves(torch.Tensor.detach, _unrolled_slope(loss, params, data))


def _exact_slope(loss: Loss, params: Params, data: tuple[Any, ...]) -> Params:
    flat, spec = tree.flatten((params, data))
    problem = _Problem(loss, spec, len(params))
    slopes = _Slope.apply(problem, *flat)  # type: ignore[no-untyped-call]
    return dict(zip(params, slopes, strict=True))


class _Problem:
    """A loss of flat tensors: the first `count` are the parameters, the rest the data."""

    def __init__(self, loss: Loss, spec: Any, count: int) -> None:
        self.loss, self.spec, self.count = loss, spec, count

    def __call__(self, *flat: Tensor) -> Tensor:
        params, data = tree.unflatten(flat, self.spec)
        return self.loss(params, *data)


class _Slope(torch.autograd.Function):
    """The gradient of a problem in its parameters, with a derivative that costs one Hessian-vector product."""

    generate_vmap_rule = True

    @staticmethod
    def forward(problem: _Problem, *flat: Tensor) -> tuple[Tensor, ...]:
        slopes: tuple[Tensor, ...] = torch.func.grad(problem, argnums=tuple(range(problem.count)))(*flat)
        return slopes

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.problem = inputs[0]
        device = inputs[1].device.type
        ctx.precision = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        # Hessians are symmetric, so cᵀ ∂(slope)/∂z for every z at once is the derivative of ∂loss/∂z along c.
        problem, flat = ctx.problem, ctx.saved_tensors
        wanted = tuple(i for i, needs in enumerate(ctx.needs_input_grad[1:]) if needs)
        start, rest = flat[: problem.count], flat[problem.count :]

        def slopes(*at: Tensor) -> tuple[Tensor, ...]:
            found: tuple[Tensor, ...] = torch.func.grad(problem, argnums=wanted)(*at, *rest)
            return found

        device, dtype, enabled = ctx.precision  # of the way there: what it saved is in that precision
        with torch.autocast(device, dtype, enabled=enabled):
            products = torch.func.jvp(slopes, start, cotangents)[1]
        back: list[Tensor | None] = [None] * len(flat)
        for i, product in zip(wanted, products, strict=True):
            back[i] = product
        return None, *back


_SLOPES: dict[str, Callable[..., Params]] = {
    "exact": _exact_slope,
    "first-order": _first_order_slope,
    "unrolled": _unrolled_slope,
}
