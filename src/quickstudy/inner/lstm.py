"""Learned optimisers: recurrent nets that turn slopes into steps, the same net for every coordinate."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import torch
from pydantic import Field

from quickstudy.core.settings import Rate, Size, settings
from quickstudy.core.shapes import Float, Tensor
from quickstudy.inner.rules import Params, Rule

__all__ = ["CoordinateLSTM", "MetaLSTM"]

Gate = Annotated[float, Field(gt=0, lt=1)]

STRETCH = 10.0
"""Slopes from e^-10 to 1 are told apart by their logarithm (p of Andrychowicz et al. 2016, appendix A)."""


class Memory(NamedTuple):
    """What a layer of LSTM cells remembers, for each coordinate."""

    hidden: Float[Tensor, "n h"]
    cell: Float[Tensor, "n h"]


@settings
class CoordinateLSTM(Rule):
    """A two-layer LSTM reads each coordinate's slope and says its step (Andrychowicz et al. 2016).

    θ ← θ + scale · m(slope), with the net m shared by all coordinates and a memory for each (equation 3, figure 3).
    Slopes are read as logarithm and sign. What m says starts near a tenth of the sign, downhill. The paper drops the
    derivatives of slopes: gradient="first-order". Where its tasks have random starts, here the start is learned too.
    Where the paper adds up the losses after all steps (equation 3, weights of 1), MAML scores the last step alone.
    """

    hidden: Size = 20
    """Cells of each layer."""
    scale: Rate = 0.1
    """What the net says is multiplied by this."""

    def learned(self, params: Params) -> Params:
        like, stream = next(iter(params.values())).detach(), torch.Generator().manual_seed(0)
        made = _cells("first", 2, self.hidden, stream) | _cells("second", self.hidden, self.hidden, stream)
        # minus the sign read first: what it starts from goes downhill
        made |= {"said": _uniform((1, self.hidden), self.hidden, stream), "downhill": torch.full((1,), 0.1)}
        return {name: leaf.to(like) for name, leaf in made.items()}

    def start(self, params: Params) -> tuple[Memory, Memory]:
        flat = _flat(params)
        zeros = flat.new_zeros(len(flat), self.hidden)
        return Memory(zeros, zeros), Memory(zeros, zeros)

    def step(
        self, params: Params, slope: Params, state: tuple[Memory, Memory], learned: Params
    ) -> tuple[Params, tuple[Memory, Memory]]:
        read = _logarithm_and_sign(_flat(slope))
        first = _remember("first", read, state[0], learned)
        second = _remember("second", first.hidden, state[1], learned)
        said = (second.hidden @ learned["said"].T)[:, 0] - learned["downhill"] * read[:, 1]
        return _added(params, self.scale * said), (first, second)


class Gates(NamedTuple):
    """What the meta-learner LSTM remembers, for each coordinate."""

    memory: Memory
    kept: Float[Tensor, "n 1"]
    taken: Float[Tensor, "n 1"]
    loss: Float[Tensor, ""]
    """Where the next step begins."""


@settings
class MetaLSTM(Rule):
    """An LSTM whose cell state is the learner's weights (Ravi and Larochelle 2017).

    θ ← f·θ - i·slope: the forget gate f says how much of a weight is kept, the input gate i is its step size (equations
    2 and 3). Both read the slope and the loss (each as logarithm and sign, through a layer of LSTM cells), the weight
    and their own last value. The initial cell state is the learned start. The paper drops the derivatives of slopes and
    of losses: gradient="first-order".
    """

    hidden: Size = 20
    """Cells of the layer that reads slopes and losses."""
    rate: Gate = 0.0067
    """Where the input gate starts: a bias of -5, a small step, as in the authors' code."""
    keep: Gate = 0.9933
    """Where the forget gate starts: a bias of 5."""

    def learned(self, params: Params) -> Params:
        like, stream = next(iter(params.values())).detach(), torch.Generator().manual_seed(0)
        made = _cells("reader", 4, self.hidden, stream)
        for gate, start in (("keep", self.keep), ("take", self.rate)):
            made[gate] = 0.01 * torch.randn(1, self.hidden + 2, generator=stream)
            made[f"{gate}_bias"] = torch.full((1,), math.log(start / (1 - start)))
        return {name: leaf.to(like) for name, leaf in made.items()}

    def start(self, params: Params) -> Gates:
        flat = _flat(params)
        zeros = flat.new_zeros(len(flat), self.hidden)
        return Gates(
            Memory(zeros, zeros), torch.ones_like(flat)[:, None], torch.zeros_like(flat)[:, None], flat.new_zeros(())
        )

    @property
    def reads_loss(self) -> bool:
        return True

    def told(self, state: Gates, loss: Float[Tensor, ""]) -> Gates:
        return state._replace(loss=loss)

    def step(self, params: Params, slope: Params, state: Gates, learned: Params) -> tuple[Params, Gates]:
        flat, slopes = _flat(params), _flat(slope)
        signals = [_logarithm_and_sign(slopes), _logarithm_and_sign(state.loss[None]).expand(len(flat), 2)]
        memory = _remember("reader", torch.cat(signals, 1), state.memory, learned)

        def gate(name: str, last: Tensor) -> Tensor:
            read = torch.cat([memory.hidden, flat[:, None], last], 1)
            return torch.sigmoid(read @ learned[name].T + learned[f"{name}_bias"])

        kept, taken = gate("keep", state.kept), gate("take", state.taken)
        moved = kept[:, 0] * flat - taken[:, 0] * slopes
        return _added(params, moved - flat), Gates(memory, kept, taken, state.loss)


def _flat(params: Params) -> Float[Tensor, " n"]:
    return torch.cat([leaf.flatten() for leaf in params.values()])


def _added(params: Params, change: Float[Tensor, " n"]) -> Params:
    changes = torch.split(change, [leaf.numel() for leaf in params.values()])
    return {name: leaf + part.view_as(leaf) for (name, leaf), part in zip(params.items(), changes, strict=True)}


def _logarithm_and_sign(slope: Float[Tensor, " n"]) -> Float[Tensor, "n 2"]:
    """The preprocessing of Andrychowicz et al. (appendix A)."""
    smallest = math.exp(-STRETCH)
    large = slope.abs() >= smallest
    logarithm = torch.where(large, slope.abs().clamp(min=smallest).log() / STRETCH, -1.0)
    return torch.stack([logarithm, torch.where(large, slope.sign(), slope / smallest)], 1)


def _cells(name: str, inputs: int, hidden: int, stream: torch.Generator) -> Params:
    bias = torch.zeros(4 * hidden)
    bias[hidden : 2 * hidden] = 1.0  # remember at first
    return {
        f"{name}.read": _uniform((4 * hidden, inputs), hidden, stream),
        f"{name}.recall": _uniform((4 * hidden, hidden), hidden, stream),
        f"{name}.bias": bias,
    }


def _uniform(shape: tuple[int, int], hidden: int, stream: torch.Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=stream) - 1) / math.sqrt(hidden)


def _remember(name: str, read: Float[Tensor, "n i"], memory: Memory, learned: Params) -> Memory:
    """One step of LSTM cells (torch's own has no batching rule)."""
    gates = read @ learned[f"{name}.read"].T + memory.hidden @ learned[f"{name}.recall"].T + learned[f"{name}.bias"]
    into, forget, new, out = gates.chunk(4, dim=1)
    cell = torch.sigmoid(forget) * memory.cell + torch.sigmoid(into) * torch.tanh(new)
    return Memory(torch.sigmoid(out) * torch.tanh(cell), cell)
