"""SNAIL: temporal convolutions and attention over the examples."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import nn

from quickstudy.core.apply import Statistics, apply
from quickstudy.core.episode import Examples
from quickstudy.core.learner import QueryScored
from quickstudy.core.predictions import Categorical, Gaussian, Likelihood, likelihood
from quickstudy.core.settings import Size
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.methods.memory.sequence import TAGS, features
from quickstudy.nets.attention import Memory, attend, begin_alike
from quickstudy.nets.net import width_of

__all__ = ["SNAIL", "Passed"]


class Passed(NamedTuple):
    """What SNAIL knows after its examples: what each of its layers will look back to.

    Of a convolution that is one position [c], of attention keys and values.
    """

    looks: tuple[Any, ...]
    mask: Bool[Tensor, " n"]
    statistics: Statistics


class SNAIL(QueryScored):
    """Temporal convolutions to gather experience, attention to find some of it (Mishra et al. 2018, "SNAIL").

    Meta-learned: the net and all layers.
    Adapts by: one pass of the support, each input with its label; for every layer what a next position reads is kept.
    Scored by: the negative log-likelihood of each query, read after the support with zeros for its label.

    Layers are those for Omniglot (appendix A): attention, a block of convolutions, attention, another block, attention,
    and a linear map. A block has a convolution for each power of two below `reach`, so that it sees that far back. By
    default layers have a quarter of the published width, whose steps take several times as long.

    Args:
        net: What inputs are embedded by; "flatten" for inputs as they are.
        outputs: Ways, or the number of real values to predict.
        reach: How many positions back a block of convolutions sees: ways x shots + 1 or more.
        filters: Of each convolution; published: 128.
        keys: Numbers of a key in the first, the second and the third attention; published: 64, 256, 512.
        values: Numbers that each attention reads; published: 32, 128, 256.
        likelihood: What is predicted: "categorical" classes or "gaussian" values.
    """

    tags = TAGS

    def __init__(
        self,
        net: nn.Module,
        outputs: int,
        *,
        reach: Size = 32,
        filters: Size = 32,
        keys: tuple[Size, Size, Size] = (16, 64, 128),
        values: tuple[Size, Size, Size] = (8, 32, 64),
        likelihood: Likelihood = "categorical",
    ) -> None:
        super().__init__()
        self.net, self.outputs, self.likelihood = net, outputs, likelihood
        layers: list[Look | Find] = []
        width = width_of(net) + outputs
        for number, (key, value) in enumerate(zip(keys, values, strict=True)):
            if number:
                for power in range(max(1, math.ceil(math.log2(reach)))):
                    layers.append(Look(width, filters, 2**power))
                    width += filters
            layers.append(Find(width, key, value))
            width += value
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(width, outputs)

    def adapt(self, support: Examples, *noise: Tensor) -> Passed:
        z, y, statistics = features(self.net, support)
        # Those that count come first: then a position before another is an example before it.
        place = torch.arange(len(z), device=z.device)
        order = torch.where(support.mask, place, place + len(z)).argsort()
        x, mask = torch.cat([z, y], 1)[order], support.mask[order]
        looks = []
        for layer in self._layers():
            looks.append(layer.look(x, mask))
            x = layer.along(x)
        return Passed(tuple(looks), mask, statistics)

    def predict(self, learner: Passed, x: Shaped[Tensor, "n *item"]) -> Categorical | Gaussian:
        z, _ = apply(self.net, None, x, statistics=learner.statistics)
        out = torch.cat([z, z.new_zeros(len(z), self.outputs)], 1)
        for layer, look in zip(self._layers(), learner.looks, strict=True):
            out = layer.at(out, look, learner.mask)
        return likelihood(self.likelihood, self.head(out))

    def _layers(self) -> list[Look | Find]:
        return [layer for layer in self.layers if isinstance(layer, (Look, Find))]


class Look(nn.Module):
    """A dense block: a causal convolution of two positions, `apart` from each other, gated, behind what it reads."""

    def __init__(self, width: int, filters: int, apart: int) -> None:
        super().__init__()
        self.now, self.then = nn.Linear(width, 2 * filters), nn.Linear(width, 2 * filters, bias=False)
        self.apart = apart

    def along(self, x: Float[Tensor, "n c"]) -> Float[Tensor, "n e"]:
        """Every position of a sequence."""
        apart = min(self.apart, len(x))
        return self._beside(x, torch.cat([torch.zeros_like(x[:apart]), x[: len(x) - apart]]))

    def look(self, x: Float[Tensor, "n c"], mask: Bool[Tensor, " n"]) -> Float[Tensor, " c"]:
        """What the position after the sequence looks back to: zeros where that is before it began."""
        back = torch.arange(len(x), device=x.device) == mask.sum() - self.apart
        return torch.where(back[:, None], x, 0.0).sum(0)

    def at(self, x: Float[Tensor, "n c"], look: Float[Tensor, " c"], mask: Bool[Tensor, " m"]) -> Float[Tensor, "n e"]:
        """Each of `n` inputs as the position after the sequence."""
        return self._beside(x, look.expand(len(x), -1))

    def _beside(self, now: Float[Tensor, "n c"], then: Float[Tensor, "n c"]) -> Float[Tensor, "n e"]:
        said, gate = (self.now(now) + self.then(then)).chunk(2, dim=-1)
        return torch.cat([now, said.tanh() * gate.sigmoid()], -1)


class Find(nn.Module):
    """Attention with one head, to the positions before and to itself, behind what it reads."""

    def __init__(self, width: int, key: int, value: int) -> None:
        super().__init__()
        self.of_query, self.of_key, self.of_value = (
            nn.Linear(width, key),
            nn.Linear(width, key),
            nn.Linear(width, value),
        )
        begin_alike(self.of_key, self.of_query)

    def along(self, x: Float[Tensor, "n c"]) -> Float[Tensor, "n e"]:
        """Every position of a sequence."""
        before = torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).tril()
        return self._beside(x, self._read(x), before)

    def look(self, x: Float[Tensor, "n c"], mask: Bool[Tensor, " n"]) -> Memory:
        """What later positions can read."""
        return self._read(x)

    def at(self, x: Float[Tensor, "n c"], look: Memory, mask: Bool[Tensor, " m"]) -> Float[Tensor, "n e"]:
        """Each of `n` inputs as the position after the sequence."""
        both = Memory(*(torch.cat(parts, 1) for parts in zip(look, self._read(x), strict=True)))
        itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
        return self._beside(x, both, torch.cat([mask.expand(len(x), -1), itself], 1))

    def _read(self, x: Float[Tensor, "n c"]) -> Memory:
        return Memory(self.of_key(x)[None], self.of_value(x)[None])

    def _beside(self, x: Float[Tensor, "n c"], memory: Memory, sees: Bool[Tensor, "n m"]) -> Float[Tensor, "n e"]:
        return torch.cat([x, attend(self.of_query(x)[None], memory, sees)[0]], -1)
