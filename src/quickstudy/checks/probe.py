"""What the checks have in common: one task of a subject, its losses and gradients, and comparing trees of tensors."""

from __future__ import annotations

from typing import Any

import torch

from quickstudy.checks.subject import Subject
from quickstudy.core import tree
from quickstudy.core.episode import Episode, Examples
from quickstudy.core.how import How
from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import over_tasks
from quickstudy.core.predictions import Prediction
from quickstudy.core.shapes import Tensor
from quickstudy.errors import MethodError

__all__ = [
    "Gradient",
    "answer",
    "batch",
    "gradient",
    "is_tensor",
    "loss_and_gradient",
    "loss_at",
    "one",
    "one_to_train_on",
    "padded",
    "photograph",
    "same",
    "task",
    "unchanged",
]

Gradient = tuple[Tensor, ...]


def task(batch: Any) -> Any:
    """The first task of a batch."""
    return tree.map_leaves(lambda leaf: leaf[0], batch)


def one(subject: Subject, dtype: torch.dtype = torch.float64) -> tuple[MetaLearner, Episode, tuple[Tensor, ...]]:
    """A method, an episode and the noise for it."""
    method = subject.build(dtype=dtype)
    return method, task(subject.episodes([0], dtype)), task(subject.noise(method, [0], dtype))


def one_to_train_on(subject: Subject, dtype: torch.dtype = torch.float64) -> Episode:
    """What meta_loss takes for one task."""
    first: Episode = task(subject.training([0], dtype))
    return first


def answer(method: MetaLearner, episode: Episode, noise: tuple[Tensor, ...]) -> Prediction:
    """What a learner of the support says of the queries."""
    return method.predict(method.adapt(episode.support, *noise), episode.query.x)


def batch(subject: Subject, method: MetaLearner, how: How, chunk: int | None) -> tuple[Any, ...]:
    """The losses of a few tasks, the gradient of their mean, and what their learners say, by map or by loop."""
    indices = range(3)
    noise = subject.noise(method, indices)
    losses = over_tasks(method, subject.training(indices), *noise, how=how, chunk=chunk)
    episodes = subject.episodes(indices)
    learners = over_tasks(method.adapt, episodes.support, *noise, how=how, chunk=chunk)
    said = over_tasks(method.predict, learners, episodes.query.x, how=how, chunk=chunk)
    return losses, gradient(losses.mean(), method), said


def loss_and_gradient(method: MetaLearner, batch: Episode, noise: tuple[Tensor, ...]) -> tuple[Tensor, Gradient]:
    """The loss of one task, and its gradient in every parameter."""
    loss = method.meta_loss(batch, *noise)
    return loss, gradient(loss, method)


def gradient(loss: Tensor, method: MetaLearner) -> Gradient:
    """The gradient of a loss in every parameter; zeros where it does not depend on one."""
    parameters = list(method.parameters())
    if not parameters:
        return ()
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


def loss_at(method: MetaLearner, flat: Tensor, batch: Episode, noise: tuple[Tensor, ...]) -> float:
    """The loss with all parameters taken from one vector."""
    params, used = {}, 0
    for name, weight in method.named_parameters():
        params[name] = flat[used : used + weight.numel()].view_as(weight)
        used += weight.numel()
    return float(torch.func.functional_call(method, params, (batch, *noise)))


def padded(part: Examples, filling: float) -> Examples:
    """Two masked examples before the others and two after; order is kept for methods to which it matters."""

    def around(values: Tensor, filler: Tensor) -> Tensor:
        return torch.cat([filler, values, filler])

    x = torch.full_like(part.x[:2], filling)
    y = torch.full_like(part.y[:2], filling) if part.y.is_floating_point() else part.y[:2].flip(-1)
    return Examples(around(part.x, x), around(part.y, y), around(part.mask, torch.zeros_like(part.mask[:2])))


def photograph(method: MetaLearner, *inputs: Any) -> dict[str, Any]:
    """Everything that a verb could change: inputs, and all that modules hold, copied where it is a tensor."""
    held = {"inputs": inputs}
    for path, module in method.named_modules():
        held |= {f"{path or 'self'}.{name}": value for name, value in vars(module).items() if name != "_modules"}
    return {name: _copied(value) for name, value in held.items()}


def _copied(value: Any) -> tuple[list[Any], Any]:
    flat, spec = tree.flatten(value)
    return [leaf.detach().clone() if is_tensor(leaf) else leaf for leaf in flat], spec


def unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Raise `MethodError` unless two photographs are the same."""
    mend = "Return what is learned about a task; store nothing on the module."
    for name in before.keys() | after.keys():
        if name not in before or name not in after or before[name][1] != after[name][1]:
            raise MethodError(f"adapt, predict or meta_loss made, removed or resized {name}. {mend}")
        for old, new in zip(before[name][0], after[name][0], strict=True):
            if not (torch.equal(old, new) if is_tensor(old) and is_tensor(new) else old is new):
                raise MethodError(f"adapt, predict or meta_loss changed {name}. {mend}")


def is_tensor(value: Any) -> bool:
    """Whether it is one."""
    return isinstance(value, Tensor)


def same(first: Any, second: Any, what: str, mend: str = "", exact: bool = False) -> None:
    """Raise unless two trees of tensors are equal, up to rounding unless `exact`."""
    for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True):
        close = torch.equal(a, b) if exact else torch.allclose(a, b, rtol=1e-7, atol=1e-9)
        if a.shape != b.shape or not close:
            gap = f"by up to {(a - b).abs().max():.1e}" if a.shape == b.shape and a.is_floating_point() else "in shape"
            raise MethodError(f"{what} differ {gap}; expected no difference{mend}.")
