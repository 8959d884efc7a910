"""Learners that are several nets with a linear head: how each is scored on the support, and what all say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from quickstudy.core import tree
from quickstudy.core.episode import Examples
from quickstudy.core.predictions import Gaussian, Likelihood, Mixture
from quickstudy.core.shapes import Float, Shaped, Tensor
from quickstudy.inner.rules import Params
from quickstudy.methods.gradient import body_and_head
from quickstudy.methods.gradient.body_and_head import Adapted, query_loss, support_loss

__all__ = [
    "Members",
    "Spread",
    "divergence",
    "log_deviation",
    "predict",
    "query_nll",
    "rows",
    "settled",
    "size",
    "support_loss_of",
]

Members = tuple[Adapted, ...]
"""Learners of one task, each as likely as another."""


class Spread(NamedTuple):
    """Independent normal distributions of weights: their means, and the logarithms of their standard deviations."""

    mean: Params
    log_std: Params

    def draw(self, noise: Params) -> Params:
        """The weights that lie this many deviations from the mean."""
        return {name: mean + self.log_std[name].exp() * noise[name] for name, mean in self.mean.items()}


def divergence(of: Spread, from_: Spread) -> Float[Tensor, ""]:
    """The Kullback-Leibler divergence of one distribution of weights from another, in nats, all weights together."""

    def each(name: str) -> Tensor:
        difference = of.log_std[name] - from_.log_std[name]
        apart = (of.mean[name] - from_.mean[name]) * torch.exp(-from_.log_std[name])
        return 0.5 * ((2 * difference).exp() + apart.square() - 1 - 2 * difference).sum()

    return torch.stack([each(name) for name in of.mean]).sum()


def size(params: Params) -> int:
    """How many numbers there are in all of them."""
    return sum(leaf.numel() for leaf in params.values())


def rows(noise: Float[Tensor, " size"], like: Params) -> list[Params]:
    """Noise cut into as many trees of this shape as it makes."""
    sizes = [leaf.numel() for leaf in like.values()]

    def shaped(row: Tensor) -> Params:
        parts = torch.split(row, sizes)
        return {name: part.view(leaf.shape) for part, (name, leaf) in zip(parts, like.items(), strict=True)}

    return [shaped(row) for row in noise.view(-1, sum(sizes))]


def log_deviation(kind: Likelihood) -> nn.Parameter | None:
    """The logarithm of real values' standard deviation, to be learned; it starts at that of squared error, √½."""
    return nn.Parameter(torch.tensor(math.log(0.5) / 2)) if kind == "gaussian" else None


def support_loss_of(net: nn.Module, kind: Likelihood) -> Any:
    """The function `loss(weights, support)`: the mean loss of a support at the weights of net and head."""
    return partial(_support_loss, net=net, kind=kind)


def _support_loss(weights: Params, support: Examples, *, net: nn.Module, kind: Likelihood) -> Float[Tensor, ""]:
    return support_loss(weights, {}, support, net=net, kind=kind, compose=None)


def settled(net: nn.Module, weights: Sequence[Params], support: Examples) -> Members:
    """The learners that have these weights, each with the statistics of the support under its own."""
    return tuple(body_and_head.settled(net, each, support) for each in weights)


def predict(
    net: nn.Module,
    members: Members,
    x: Shaped[Tensor, "n *item"],
    kind: Likelihood,
    log_deviation: Tensor | None,
) -> Mixture:
    """What all members say of `x`; of real values, each with the same standard deviation."""
    said = tree.stack([body_and_head.predict(net, member, x, kind) for member in members])
    if isinstance(said, Gaussian) and log_deviation is not None:
        said = Gaussian(said.mean, log_deviation.exp().expand_as(said.mean))
    return Mixture(said, said[0].new_zeros(len(members)))


def query_nll(said: Mixture, query: Examples) -> Float[Tensor, ""]:
    """The query's mean negative log-likelihood, averaged over the members: what a bound has in it."""
    return torch.stack([query_loss(part, query) for part in tree.unstack(said.parts)]).mean()
