"""Inner problems solved rather than unrolled: the meta-gradient is that of a minimum, however it was reached.

At a minimum φ of L(φ, z) + λ/2 ‖φ - θ‖², the implicit function theorem gives dφ = (H + λI)⁻¹ (λ dθ - ∂²L/∂φ∂z dz), with
H the Hessian of L (Rajeswaran et al. 2019, lemma 1). The inverse is applied by conjugate gradient. A solver reaches the
minimum: by steps of a rule, or Hessian-free.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from quickstudy.core import tree
from quickstudy.core.shapes import Float, Tensor
from quickstudy.inner.loop import Loss, descend
from quickstudy.inner.rules import Params, Rule

__all__ = ["Descent", "HessianFree", "Solution", "Solver", "conjugate_gradient", "hessian_product", "proximal"]

Flat = tuple[Tensor, ...]

LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.0)
"""Of a Hessian-free step, of which the best is taken."""


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


class Solver(ABC):
    """Comes near the minimum of an inner problem. Its way there has no meta-gradient."""

    @abstractmethod
    def minimum(self, loss: Loss, start: Params, data: tuple[Any, ...], strength: float) -> Params:
        """About the minimum of `loss(params, *data)` + strength/2 ‖params - start‖²."""


@dataclass(frozen=True)
class Descent(Solver):
    """Steps of a rule that learns nothing down the penalised loss."""

    rule: Rule
    steps: int

    def minimum(self, loss: Loss, start: Params, data: tuple[Any, ...], strength: float) -> Params:
        def penalised(params: Params, centre: Params, *data: Any) -> Tensor:
            return loss(params, *data) + _penalty(params, centre, strength)

        return descend(penalised, start, (start, *data), rule=self.rule, steps=self.steps, gradient="first-order")


@dataclass(frozen=True)
class HessianFree(Solver):
    """Gauss-Newton steps by conjugate gradient (Martens 2010), each of the best of a few lengths.

    The curvature is that of the loss in the outputs alone, which is never negative where the loss is convex in them.

    Args:
        outputs: A pure function of (params, *data).
        of_outputs: The loss as a function of (outputs, *data).
        steps: How many.
        iterations: Of conjugate gradient, a step.
    """

    outputs: Callable[..., Tensor]
    of_outputs: Callable[..., Tensor]
    steps: int
    iterations: int

    def minimum(self, loss: Loss, start: Params, data: tuple[Any, ...], strength: float) -> Params:
        centre = tuple(start.values())

        def named(at: Flat) -> Params:
            return dict(zip(start, at, strict=True))

        def outputs(*at: Tensor) -> Tensor:
            return self.outputs(named(at), *data)

        def slope_of(outputs: Tensor) -> Tensor:
            slope: Tensor = torch.func.grad(self.of_outputs)(outputs, *data)
            return slope

        def step(at: Flat) -> Flat:
            said, back = torch.func.vjp(outputs, *at)  # type: ignore[misc]  # no auxiliary output is asked for

            def product(along: Tensor) -> Tensor:
                change = torch.func.jvp(outputs, at, _split(along, at))[1]
                bent = torch.func.jvp(slope_of, (said,), (change,))[1]
                return _joined(back(bent)) + strength * along

            here = _joined(at)
            slope = _joined(back(slope_of(said))) + strength * (here - _joined(centre))
            way = conjugate_gradient(product, slope, self.iterations).x

            def cost(length: float) -> Tensor:
                params = named(_split(here - length * way, at))
                return loss(params, *data) + _penalty(params, start, strength)

            costs = torch.stack([cost(length) for length in LENGTHS]).nan_to_num(nan=torch.inf)
            best = F.one_hot(costs.argmin(), len(LENGTHS)).to(here.dtype) @ here.new_tensor(LENGTHS)
            return _split(here - best * way, at)

        at = centre
        for _ in range(self.steps):
            at = step(at)
        return named(at)


def _penalty(params: Params, centre: Params, strength: float) -> Tensor:
    apart = torch.stack([(params[name] - centre[name]).square().sum() for name in params])
    return 0.5 * strength * apart.sum()


def proximal(
    loss: Loss,
    start: Params,
    data: tuple[Any, ...],
    *,
    strength: float,
    solver: Solver,
    iterations: int,
    damping: float,
) -> Params:
    """About the minimum of `loss` + strength/2 ‖φ - start‖², with the meta-gradient of a minimum.

    Args:
        loss: As `unroll` takes it.
        start: θ, the centre of the penalty, where the solver starts too.
        data: As `unroll` takes it.
        strength: λ.
        solver: Comes near the minimum.
        iterations: Of conjugate gradient.
        damping: Added to λ in the system that is solved, where H may have negative curvature.
    """
    flat, spec = tree.flatten((start, data))
    problem = _Problem(loss, spec, len(start), strength, solver, iterations, damping)
    return dict(zip(start, _Minimum.apply(problem, *flat), strict=True))  # type: ignore[no-untyped-call]


class _Problem(NamedTuple):
    loss: Loss
    spec: Any
    size: int
    strength: float
    solver: Solver
    iterations: int
    damping: float


class _Minimum(torch.autograd.Function):
    """Where the solver ends, with the derivative of a minimum."""

    generate_vmap_rule = True

    @staticmethod
    def forward(problem: _Problem, *flat: Tensor) -> Flat:
        start, data = tree.unflatten(flat, problem.spec)
        end = problem.solver.minimum(problem.loss, start, data, problem.strength)
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
