"""Inner problems solved rather than unrolled: the meta-gradient is that of a minimum, however it was reached.

At a minimum φ of L(φ, z) + λ/2 ‖φ - θ‖², the implicit function theorem gives dφ = (H + λI)⁻¹ (λ dθ - ∂²L/∂φ∂z dz), with
H the Hessian of L (Rajeswaran et al. 2019, lemma 1). The inverse is applied by conjugate gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from quickstudy.core import tree
from quickstudy.core.shapes import Float, Tensor
from quickstudy.inner.loop import Loss, descend
from quickstudy.inner.rules import Params, Rule

__all__ = ["Solution", "conjugate_gradient", "hessian_product", "proximal"]

Flat = tuple[Tensor, ...]


class Solution(NamedTuple):
    """What conjugate gradient found, and how far it is from solving the system."""

    x: Float[Tensor, " n"]
    residual: Float[Tensor, ""]
    """‖b - Ax‖ / ‖b‖."""


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Float[Tensor, " n"], iterations: int) -> Solution:
    """Solve Ax = b for a symmetric positive definite A that is known by its products (Hestenes and Stiefel 1952).

    It takes as many iterations as it is told, so that it maps; those after it has arrived change nothing.
    """
    x, rest, along = torch.zeros_like(b), b, b
    left = rest @ rest
    tiny = torch.finfo(b.dtype).tiny
    for _ in range(iterations):
        bent = product(along)
        curvature = along @ bent
        # where the way bends down, or there is nothing left, no step: A is not positive there
        length = torch.where(curvature > tiny, left / curvature.clamp(min=tiny), 0.0)
        x, rest = x + length * along, rest - length * bent
        now = rest @ rest
        along = rest + torch.where(left > tiny, now / left.clamp(min=tiny), 0.0) * along
        left = now
    return Solution(x, (left / (b @ b).clamp(min=tiny)).sqrt())


def hessian_product(loss: Loss, params: Params, data: tuple[Any, ...], along: Params) -> Params:
    """The Hessian of `loss` in its parameters, times `along`."""

    def slope(at: Params) -> Params:
        found: Params = torch.func.grad(loss)(at, *data)
        return found

    product: Params = torch.func.jvp(slope, (params,), (along,))[1]
    return product


def proximal(
    loss: Loss,
    start: Params,
    data: tuple[Any, ...],
    *,
    strength: float,
    rule: Rule,
    steps: int,
    iterations: int,
    damping: float,
) -> Params:
    """About the minimum of `loss` + strength/2 ‖φ - start‖², with the meta-gradient of a minimum.

    Args:
        loss: As `unroll` takes it.
        start: θ, the centre of the penalty, where the steps start too.
        data: As `unroll` takes it.
        strength: λ.
        rule: How a slope becomes a step; one that learns nothing.
        steps: Steps towards the minimum. They have no meta-gradient.
        iterations: Of conjugate gradient.
        damping: Added to λ in the system that is solved, where H may have negative curvature.
    """
    flat, spec = tree.flatten((start, data))
    problem = _Problem(loss, spec, len(start), strength, rule, steps, iterations, damping)
    return dict(zip(start, _Minimum.apply(problem, *flat), strict=True))  # type: ignore[no-untyped-call]


class _Problem(NamedTuple):
    loss: Loss
    spec: Any
    size: int
    strength: float
    rule: Rule
    steps: int
    iterations: int
    damping: float


class _Minimum(torch.autograd.Function):
    """The end of the inner steps, with the derivative of a minimum."""

    generate_vmap_rule = True

    @staticmethod
    def forward(problem: _Problem, *flat: Tensor) -> Flat:
        start, data = tree.unflatten(flat, problem.spec)

        def penalised(params: Params, centre: Params, *data: Any) -> Tensor:
            apart = sum((params[name] - centre[name]).square().sum() for name in params)
            return problem.loss(params, *data) + 0.5 * problem.strength * apart

        end = descend(penalised, start, (start, *data), rule=problem.rule, steps=problem.steps, gradient="first-order")
        return tuple(leaf.clone() for leaf in end.values())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Flat) -> None:
        ctx.problem = inputs[0]
        ctx.save_for_backward(*output, *inputs[1:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        problem: _Problem = ctx.problem
        count = problem.size
        end, flat = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        wanted = [i for i, needs in enumerate(ctx.needs_input_grad[1:]) if needs]

        def slopes(*at: Tensor) -> tuple[Flat, Flat]:
            """∂loss/∂φ, and ∂loss/∂z for the data z that meta-gradients are wanted of."""
            places = tuple(range(count)) + tuple(i for i in wanted if i >= count)

            def value(*leaves: Tensor) -> Tensor:
                params, data = tree.unflatten(leaves, problem.spec)
                return problem.loss(params, *data)

            found: Flat = torch.func.grad(value, argnums=places)(*at, *flat[count:])
            return found[:count], found[count:]

        def product(along: Tensor) -> Tensor:
            bent = torch.func.jvp(slopes, end, _split(along, end))[1][0]
            return _joined(bent) + (problem.strength + problem.damping) * along

        solved = _split(conjugate_gradient(product, _joined(cotangents), problem.iterations).x, end)
        mixed = iter(torch.func.jvp(slopes, end, solved)[1][1])
        back: list[Tensor | None] = [None] * len(flat)
        for i in wanted:
            back[i] = problem.strength * solved[i] if i < count else -next(mixed)
        return None, *back


def _joined(leaves: Flat) -> Float[Tensor, " n"]:
    return torch.cat([leaf.flatten() for leaf in leaves])


def _split(flat: Float[Tensor, " n"], like: Flat) -> Flat:
    parts = torch.split(flat, [leaf.numel() for leaf in like])
    return tuple(part.view_as(leaf) for part, leaf in zip(parts, like, strict=True))
