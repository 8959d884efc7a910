"""The one inner-loop engine: step down a task's loss, and know what the start has to do with the end.

The exact meta-gradient keeps what the last few steps computed, and of the steps before them only the parameters: on the
way back the cotangent of such a step is pushed through one Hessian-vector product, which computes the step again
(Kemaev et al. 2025, "Scalable meta-learning via mixed-mode differentiation"). So a few steps cost no more than they do
unrolled, and peak memory hardly grows with more of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field

from quickstudy.core import tree
from quickstudy.core.shapes import Tensor
from quickstudy.errors import SettingsError
from quickstudy.inner.precision import Precision
from quickstudy.inner.rules import Params, Rule, refuse_learned
from quickstudy.inner.stretch import stretch

__all__ = ["Gradient", "descend", "unroll"]

Gradient = Literal["exact", "first-order", "unrolled"] | Annotated[str, Field(pattern=r"^last-[1-9]\d*$")]
"""How the end of an inner loop depends on its start.

- exact: the true derivative; memory does not grow with the activations of more steps than `STORED` (of a small loss,
  `MANY`);
- first-order: slopes are taken as constants, as in FOMAML;
- last-N (last-1, last-2, ...): the slopes of all but the last N steps are taken as constants (truncated
  backpropagation, Shaban et al. 2019), for long inner loops;
- unrolled: the true derivative, by backpropagation through all steps stored; for comparison.
"""

STORED = 5
"""The last steps of an exact inner loop whose activations are kept."""
SMALL, MANY = 2**16, 50
"""Of a loss that reads no more than SMALL bytes of parameters and data, and has no convolutions, this many steps are
kept: some megabytes at most, where computing a step of such a loss again, mapped, takes eight times as long."""
PATH = 2**25
"""Bytes of the parameters of steps to compute again above which not all of them are kept."""

Loss = Callable[..., Tensor]
Data = tuple[Any, ...] | list[tuple[Any, ...]]
Slope = Callable[[Loss, Params, tuple[Any, ...]], Params]


def unroll(
    loss: Loss,
    params: Params,
    data: Data,
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
            every floating-point tensor in it. A list has what the loss of each step is computed from; steps after its
            last take the last.
        rule: How a slope becomes a step.
        steps: How many steps, 0 or more.
        gradient: One of `Gradient`.
        learned: The rule's meta-learned tensors, which `rule.learned` starts; None for a rule that has none.

    Raises:
        SettingsError: `gradient` is none of these, or the rule learns and was not given what it has learned.
    """
    learned = _given(learned, rule, params)
    state, path = rule.start(params), [params]
    for number, slope_of in enumerate(_slopes(gradient, steps, _stored(params, data))):
        params, state = _Steps(rule, loss, [slope_of], number).end(params, state, data, learned)
        path.append(params)
    return path


def descend(
    loss: Loss,
    params: Params,
    data: Data,
    *,
    rule: Rule,
    steps: int,
    gradient: Gradient = "exact",
    learned: Params | None = None,
) -> Params:
    """Where `unroll` ends, for whom the points before are of no use: a long inner loop then needs less memory.

    Takes and raises what `unroll` does. Where the parameters of the steps to compute again would take more than
    `PATH` bytes, they are cut into stretches, each of which is walked again on the way back: `inner.stretch`.
    """
    learned = _given(learned, rule, params)
    slopes = _slopes(gradient, steps, _stored(params, data))
    state = rule.start(params)
    far = slopes.count(_exact_slope)
    if gradient == "exact" and far * _size(params) > PATH and _plainly_differentiated((params, data, learned)):
        length = math.isqrt(far)
        for first in range(0, far, length):
            some = _Steps(rule, loss, slopes[first : min(first + length, far)], first)
            params, state = stretch(some.end, params, state, data, learned)
    else:
        far = 0
    return _Steps(rule, loss, slopes[far:], far).end(params, state, data, learned)[0]


def _given(learned: Params | None, rule: Rule, params: Params) -> Params:
    """What a rule has learned: a rule that learns must not run from its start unnoticed."""
    if learned is None:
        refuse_learned(rule, params, "the inner loop was not given them as `learned`")
    return learned or {}


class _Steps(NamedTuple):
    """Steps of an inner loop: of which rule, down which loss, how each slope is taken, and the number of the first."""

    rule: Rule
    loss: Loss
    slopes: list[Slope]
    first: int

    def end(self, params: Params, state: Any, data: Data, learned: Params) -> tuple[Params, Any]:
        """The parameters and the rule's state after them."""
        for number, slope_of in enumerate(self.slopes, self.first):
            now = _at(data, number)
            if self.rule.reads_loss:
                slope, value = _slope_and_value(slope_of, self.loss, params, now)
                state = self.rule.told(state, value)
            else:
                slope = slope_of(self.loss, params, now)
            params, state = self.rule.step(params, slope, state, learned)
        return params, state


def _at(data: Data, number: int) -> tuple[Any, ...]:
    """What the loss of a step is computed from."""
    return data[min(number, len(data) - 1)] if isinstance(data, list) else data


def _size(values: Any) -> int:
    """In bytes."""
    return sum(leaf.numel() * leaf.element_size() for leaf in tree.leaves(values))


def _plainly_differentiated(values: Any) -> bool:
    """Whether `.backward()` will come here, and nothing else."""
    return torch.is_grad_enabled() and not _transformed() and any(leaf.requires_grad for leaf in tree.leaves(values))


def _stored(params: Params, data: Data) -> int:
    """How many of the last steps are kept of an exact inner loop."""
    small = _size((params, _at(data, 0))) <= SMALL and all(leaf.ndim <= 2 for leaf in params.values())
    return MANY if small else STORED


def _slopes(gradient: str, steps: int, stored: int) -> list[Slope]:
    """How each step's slope is taken."""
    stored = min(steps, stored)
    exact: list[Slope] = [_exact_slope] * (steps - stored) + [_unrolled_slope] * stored
    if gradient == "exact":
        return exact
    if gradient == "unrolled":
        return [_unrolled_slope] * steps
    word, _, last = gradient.partition("-")
    if gradient != "first-order" and not (word == "last" and last.isdecimal()):
        raise SettingsError(
            f"gradient={gradient!r}: an inner loop is differentiated by exact, first-order, last-N (as in last-2) or "
            "unrolled."
        )
    constant = steps if gradient == "first-order" else max(0, steps - int(last))
    return [*[_first_order_slope] * constant, *exact[constant:]]


FACTOR = "factor of the loss"
"""A parameter beside the others, that none of them is called."""


def _slope_and_value(slope_of: Slope, loss: Loss, params: Params, data: tuple[Any, ...]) -> tuple[Params, Tensor]:
    """A slope, and the loss where it is taken: the slope in a factor of the loss that is one.

    So the value has the derivative that this way of taking slopes has, and costs no second pass.
    """

    def scaled(with_factor: Params, *data: Any) -> Tensor:
        rest = {name: leaf for name, leaf in with_factor.items() if name != FACTOR}
        return with_factor[FACTOR] * loss(rest, *data)

    one = next(iter(params.values())).detach().new_ones(())
    slope = slope_of(scaled, {**params, FACTOR: one}, data)
    return slope, slope.pop(FACTOR)


def _unrolled_slope(loss: Loss, params: Params, data: tuple[Any, ...]) -> Params:
    if _transformed():
        slope: Params = torch.func.grad(loss)(params, *data)
        return slope
    asked = any(leaf.requires_grad for leaf in tree.leaves((params, data)))
    return _plain_slope(loss, params, data, keep=asked and torch.is_grad_enabled())


def _first_order_slope(loss: Loss, params: Params, data: tuple[Any, ...]) -> Params:
    params, data = tree.map_leaves(torch.Tensor.detach, (params, data))
    if _transformed():
        return tree.map_leaves(torch.Tensor.detach, _unrolled_slope(loss, params, data))
    return _plain_slope(loss, params, data, keep=False)


def _plain_slope(loss: Loss, params: Params, data: tuple[Any, ...], *, keep: bool) -> Params:
    """What `torch.func.grad` gives, a fifth quicker, where nothing is mapped or differentiated around it."""
    with torch.enable_grad():
        # a view of each: one that is made of another (a head of prototypes) must not count that one's slope as well
        at = {n: leaf.view_as(leaf) if keep and leaf.requires_grad else _watched(leaf) for n, leaf in params.items()}
        slopes = torch.autograd.grad(loss(at, *data), list(at.values()), create_graph=keep, materialize_grads=True)
    return dict(zip(at, slopes, strict=True))


def _watched(leaf: Tensor) -> Tensor:
    return leaf.detach().requires_grad_()


def _transformed() -> bool:
    """Whether only `torch.func` can differentiate here: inside another of its transforms, or in inference mode."""
    return torch._C._are_functorch_transforms_active() or torch.is_inference_mode_enabled()


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
        params, data = tree.unflatten(flat, problem.spec)
        return tuple(_unrolled_slope(problem.loss, params, data).values())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.problem = inputs[0]
        ctx.precision = Precision(inputs[1:2])
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        # Hessians are symmetric, so cᵀ ∂(slope)/∂z for every z at once is the derivative of ∂loss/∂z along c.
        problem, flat = ctx.problem, ctx.saved_tensors
        wanted = tuple(i for i, needs in enumerate(ctx.needs_input_grad[1:]) if needs)
        with ctx.precision.again():
            products = (_mapped_products if _transformed() else _plain_products)(problem, flat, wanted, cotangents)
        back: list[Tensor | None] = [None] * len(flat)
        for i, product in zip(wanted, products, strict=True):
            back[i] = product
        return None, *back


Flat = tuple[Tensor, ...]


def _mapped_products(problem: _Problem, flat: Flat, wanted: tuple[int, ...], along: Flat) -> Flat:
    start, rest = flat[: problem.count], flat[problem.count :]

    def slopes(*at: Tensor) -> Flat:
        found: Flat = torch.func.grad(problem, argnums=wanted)(*at, *rest)
        return found

    products: Flat = torch.func.jvp(slopes, start, along)[1]
    return products


def _plain_products(problem: _Problem, flat: Flat, wanted: tuple[int, ...], along: Flat) -> Flat:
    with torch.enable_grad():
        at = [_watched(leaf) if i < problem.count or i in wanted else leaf for i, leaf in enumerate(flat)]
        slopes = torch.autograd.grad(problem(*at), at[: problem.count], create_graph=True, materialize_grads=True)
    bent = [(slope, cotangent) for slope, cotangent in zip(slopes, along, strict=True) if slope.requires_grad]
    if not bent:  # a loss without curvature
        return tuple(torch.zeros_like(flat[i]) for i in wanted)
    tops, cotangents = zip(*bent, strict=True)
    products: Flat = torch.autograd.grad(tops, [at[i] for i in wanted], cotangents, materialize_grads=True)
    return products
