"""ALFA: step sizes and weight decays that a small net makes of where the inner loop is."""

from __future__ import annotations

import math

import torch

from quickstudy.core.settings import Rate, Size, settings
from quickstudy.core.shapes import Float, Tensor
from quickstudy.inner.rules import Params, Rule

__all__ = ["ALFA"]


@settings
class ALFA(Rule):
    """Step sizes and weight decays generated at each step from the weights and slopes (Baik et al. 2020).

    θ ← (1 - β·β₀)·θ - α·α₀·slope, with an α and a β for each weight tensor (equation 5). A net of three layers makes
    them of the mean of every tensor and of every slope (equation 7); α₀ and β₀ are learned for each tensor and step,
    from `rate` and `decay` on, as in the authors' code. Steps after the last of `steps` take the values of the last.
    """

    rate: Rate = 0.1
    """Where every step size starts."""
    decay: Rate = 5e-4
    """Where every weight decay starts."""
    steps: Size = 5
    """Steps that have values of their own."""

    def learned(self, params: Params) -> Params:
        like, size = next(iter(params.values())).detach(), 2 * len(params)
        # from a stream of its own, for a rule is a value: its start is the same each time
        stream = torch.Generator().manual_seed(0)

        def layer(spread: float) -> Tensor:
            return (spread * torch.randn(size, size, generator=stream)).to(like)

        net = {"generator.first": layer(1 / math.sqrt(size)), "generator.second": layer(1 / math.sqrt(size))}
        # what the net says starts at nothing, so that the multipliers start at one
        net |= {"generator.third": like.new_zeros(size, size)}
        net |= {f"generator.{name}_bias": like.new_zeros(size) for name in ("first", "second", "third")}
        ones = like.new_ones(self.steps, len(params))
        return net | {"rate": self.rate * ones, "decay": self.decay * ones}

    def start(self, params: Params) -> int:
        return 0

    def step(self, params: Params, slope: Params, state: int, learned: Params) -> tuple[Params, int]:
        means = [leaf.mean() for leaf in (*params.values(), *slope.values())]
        by_rate, by_decay = (1 + _say(torch.stack(means), learned)).chunk(2)
        at = min(state, self.steps - 1)
        rates, decays = (by_rate * learned["rate"][at]).unbind(), (by_decay * learned["decay"][at]).unbind()
        moved = {
            name: (1 - decay) * params[name] - rate * slope[name]
            for name, rate, decay in zip(params, rates, decays, strict=True)
        }
        return moved, state + 1


def _say(means: Float[Tensor, " d"], learned: Params) -> Float[Tensor, " d"]:
    hidden = means
    for name in ("first", "second"):
        hidden = torch.relu(learned[f"generator.{name}"] @ hidden + learned[f"generator.{name}_bias"])
    return learned["generator.third"] @ hidden + learned["generator.third_bias"]
