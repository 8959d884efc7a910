"""Learners that are weights which have changed themselves."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import SettingsError
from quickstudy.methods.memory.sequence import TAGS, features
from quickstudy.nets.net import width_of

__all__ = ["SRWM", "Changed", "SelfReferential"]

SHARPNESS = 3.0
"""How many times itself an input is as a key, as layers begin; a softmax follows."""


class Changed(NamedTuple):
    """What a self-referential net learns of a task: the weights of each of its layers, by head."""

    weights: tuple[Float[Tensor, "h d o"], ...]
    statistics: Statistics


class SRWM(QueryScored):
    """Weight matrices that say how they themselves change with every example (Irie et al. 2022, "SRWM").

    Meta-learned: the net, the weights that the matrices start from, and the layers between them.
    Adapts by: reading the support, each input with its label; at each the matrices change themselves.
    Scored by: the negative log-likelihood of each query, read without a label, of the changed matrices.

    As in the work on continual learning (Irie et al. 2023): a label is part of the input, and another number says that
    there is none. Each layer is a self-referential matrix and a perceptron, both added to what they read.

    Args:
        net: What inputs are embedded by; "flatten" for inputs as they are.
        outputs: Ways, or the number of real values to predict.
        width: Of what layers read.
        heads: Matrices of each layer, which share its width. Both papers have 16 of a width of 256.
        layers: How many.
        likelihood: What is predicted: "categorical" classes or "gaussian" values.
    """

    tags = TAGS

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        width: Size = 64,
        heads: Size = 4,
        layers: Size = 2,
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net, self.likelihood, self.outputs = net, likelihood, outputs
        self.embed = nn.Linear(width_of(net) + outputs + 1, width)
        self.layers = nn.ModuleList([SelfReferential(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def adapt(self, support: Examples, *noise: Tensor) -> Changed:
        z, y, statistics = features(self.net, support)
        x = self.embed(torch.cat([z, y, torch.zeros_like(z[:, :1])], 1))
        weights = []
        for layer in self._layers():
            x, changed = layer(x, support.mask)
            weights.append(changed)
        return Changed(tuple(weights), statistics)

    def predict(self, learner: Changed, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        out = self.embed(torch.cat([z, z.new_zeros(len(z), self.outputs), torch.ones_like(z[:, :1])], 1))
        for layer, weights in zip(self._layers(), learner.weights, strict=True):
            out = layer.after(out, layer.said(out, weights))
        return likelihood(self.likelihood, self.head(self.norm(out)))

    def _layers(self) -> list[SelfReferential]:
        return [layer for layer in self.layers if isinstance(layer, SelfReferential)]


class SelfReferential(nn.Module):
    """A weight matrix that changes itself, and a perceptron, each added to what it reads, normalised.

    With the matrix W of a head and its input x (equations 5 to 8):

        y, k, q, b = x W;  v' = softmax(k) W;  v = softmax(q) W;  W ← W + softmax(k)ᵀ (σ(b) * (v - v'))

    b has four numbers: how fast the parts of W that say y, k, q and b change.

    Raises:
        SettingsError: `heads` does not divide `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise SettingsError(f"{heads} heads cannot share a width of {width}. Choose a width that heads divides.")
        self.heads, self.size = heads, width // heads
        self.parts = [self.size, self.size, self.size, 4]
        # Rates start at ½, as in the authors' code. There queries start near zero, so that all examples write alike;
        # here they tell examples apart from the first step, and an input is its own key: what is alike is read most.
        said, queries, rates = (
            torch.randn(heads, self.size, part) * spread / math.sqrt(self.size)
            for part, spread in ((self.size, 1.0), (self.size, 2.0), (4, 0.0))
        )
        keys = SHARPNESS * torch.eye(self.size).expand(heads, -1, -1)
        self.weights = nn.Parameter(torch.cat([said, keys, queries, rates], -1))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.out = nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(
        self, x: Float[Tensor, "n d"], mask: Bool[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "h e o"]]:
        """What the layer makes of a sequence while its matrices change, and the matrices after it."""
        weights: Tensor = self.weights
        said = []
        for each, counts in zip(self._by_head(x).unbind(), mask.unbind(), strict=True):
            y, change = self.changed(each, weights)
            weights = weights + torch.where(counts, change, 0.0)
            said.append(y.flatten())
        return self.after(x, torch.stack(said) if said else x), weights

    def changed(
        self, x: Float[Tensor, "h e"], weights: Float[Tensor, "h e o"]
    ) -> tuple[Float[Tensor, "h e"], Float[Tensor, "h e o"]]:
        """What the matrices say of one input, and how they change by it."""
        y, key, query, rates = torch.split(x[:, None] @ weights, self.parts, -1)
        key, query = key.softmax(-1), query.softmax(-1)
        old, new = torch.split(torch.cat([key, query], 1) @ weights, 1, 1)
        faster = torch.cat([rates[..., i : i + 1].expand(-1, -1, part) for i, part in enumerate(self.parts)], -1)
        return y[:, 0], key.transpose(1, 2) @ (faster.sigmoid() * (new - old))

    def said(self, x: Float[Tensor, "n d"], weights: Float[Tensor, "h e o"]) -> Float[Tensor, "n d"]:
        """What matrices say of inputs that do not change them."""
        read = self._by_head(x).transpose(0, 1) @ weights[..., : self.size]
        return read.transpose(0, 1).flatten(1)

    def after(self, x: Float[Tensor, "n d"], said: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """What the layer makes of its inputs, given what its matrices say of them."""
        x = x + self.out(said)
        out: Tensor = x + self.perceptron(self.norms[1](x))
        return out

    def _by_head(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n h e"]:
        normal: Tensor = self.norms[0](x)
        return normal.view(*x.shape[:-1], self.heads, self.size)
