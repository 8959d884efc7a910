"""A whole meta-step as one compiled graph: the outer gradient, the map over tasks and the inner loop.

The step is a pure function of (weights, batch), its outer gradient taken by `torch.func` too, so it is traced by
running it once (`make_fx`: whatever the method does in Python is done then) and the graph is given to Inductor.
A graph holds for one shape of batch; each new shape is traced and compiled anew. Inductor keeps what it compiled on
disk, so that a second process only traces.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch.func import functional_call
from torch.fx import Graph
from torch.fx.experimental.proxy_tensor import make_fx

from quickstudy.core import tree
from quickstudy.core.episode import Episode
from quickstudy.core.how import How
from quickstudy.core.learner import MetaLearner
from quickstudy.core.lift import over_tasks
from quickstudy.core.shapes import Float, Tensor
from quickstudy.nets.pooling import by_comparisons
from quickstudy.train import remembered
from quickstudy.train.pace import Batch, gradient, pace_of_operations, seconds_of
from quickstudy.train.state import TrainState

__all__ = ["Choice", "WholeStep", "compiled_step"]

TRIED = 8
"""Eager steps that are timed before auto decides; the first two, which warm up, do not count."""
SMALL = 40e-6
"""Seconds of an operation below which a step is bound by the number of its operations, which compiling does away with:
five to ten microseconds each on an idle processor however little they compute, several times as many on a busy one."""
SETUP, EACH = 5.0, 0.02
"""Seconds that compiling such a step takes: to begin with, and for each operation, of which it had 250 to 9,000."""
SAVED = 0.5
"""Share of such a step's time that compiling is expected to save; of steps from 3 to 100 ms it saved 0.5 to 0.95."""
GUESS, PERHAPS = 60.0, 0.1
"""The same of other steps: seconds of a compilation, and the share of their time that it is sure to be worth."""

Weights = dict[str, Tensor]


class WholeStep:
    """The mean meta-loss of a batch of tasks, and its gradient, by one graph for each shape of batch.

    Args:
        method: Its weights are read anew at each call; they may be trained meanwhile.
        how: Whether the tasks are mapped or (all in one graph) looped over.
        bf16: Compute under bfloat16 autocast.
        backend: What compiles the graph, one of torch's backends; "eager" only traces.
    """

    def __init__(self, method: MetaLearner, *, how: How = "map", bf16: bool = False, backend: str = "inductor") -> None:
        self.method, self.how, self.bf16, self.backend = method, how, bf16, backend
        self.seconds = 0.0
        """Wall-clock time spent in tracing and compiling so far, the first calls included."""
        self._graphs: dict[Any, tuple[Callable[..., Any], list[str]]] = {}

    def __call__(self, episodes: Episode, *noise: Float[Tensor, "t size"]) -> tuple[Float[Tensor, ""], Weights]:
        """The mean meta-loss over the tasks, and its gradient in every weight that it depends on, by name."""
        learned, held = self._tensors()
        flat, spec = tree.flatten((learned, held, (episodes, *noise)))
        shapes = self.method.stage, tuple((leaf.shape, leaf.stride(), leaf.dtype, leaf.device) for leaf in flat)
        with torch.no_grad():
            if shapes not in self._graphs:
                start = time.perf_counter()
                graph, names = self._compile(flat, spec, list(learned))
                found = graph(*flat)
                self._graphs[shapes] = graph, names
                self.seconds += time.perf_counter() - start
            else:
                graph, names = self._graphs[shapes]
                found = graph(*flat)
        loss, *slopes = found
        # in the weights' precision: what Inductor makes of group normalisation in bfloat16 leaves slopes in that
        return loss, {name: slope.to(learned[name].dtype) for name, slope in zip(names, slopes, strict=True)}

    def _tensors(self) -> tuple[Weights, Weights]:
        """The tensors that are trained, and those that are not."""
        named = dict(self.method.named_parameters())
        learned = {name: weight.detach() for name, weight in named.items() if weight.requires_grad}
        held = {name: weight.detach() for name, weight in named.items() if not weight.requires_grad}
        return learned, held | dict(self.method.named_buffers())

    def _compile(self, flat: list[Tensor], spec: Any, names: list[str]) -> tuple[Callable[..., Any], list[str]]:
        """The graph compiled, and the names of the weights whose slopes it gives."""

        def loss(learned: Weights, held: Weights, batch: Batch) -> Tensor:
            def of_task(*task: Any) -> Tensor:
                found: Tensor = functional_call(self.method, {**learned, **held}, task)
                return found

            # Casts are not cached: a cached one would be traced as a constant.
            with torch.autocast(flat[0].device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
                mean: Tensor = over_tasks(of_task, *batch, how=self.how).mean()
            return mean

        def whole(*flat: Tensor) -> list[Tensor]:
            slopes, value = torch.func.grad_and_value(loss)(*tree.unflatten(flat, spec))
            return [value, *slopes.values()]

        with by_comparisons():
            graph = make_fx(whole)(*flat)
        names = _without_idle(graph.graph, names)
        graph.graph.eliminate_dead_code()  # questions such as "the same size?", which the compiler takes amiss
        graph.recompile()
        if self.backend == "inductor":
            # at once, not by torch.compile: that reads the graph once more and guards each call against other shapes,
            # which are told apart here. Of a small net's step it takes a quarter.
            from torch import _inductor  # two seconds, for those who compile

            done: Callable[..., Any] = _inductor.compile(graph, list(flat))
            return done, names
        traced: Callable[..., Any] = torch.compile(graph, fullgraph=True, dynamic=False, backend=self.backend)
        return traced, names


def _without_idle(graph: Graph, names: list[str]) -> list[str]:
    """Leave the slopes of weights that the loss does not depend on out of a graph's outputs; the names of the others.

    Such a slope is zero, and an optimizer with momentum would move the weight by it, which without a slope it leaves.
    """
    output = next(iter(reversed(graph.nodes)))
    loss, *slopes = output.args[0]
    inputs = [node for node in graph.nodes if node.op == "placeholder"]  # the weights that are trained are the first
    behind, seen = [loss], {loss}
    while behind:
        new = set(behind.pop().all_input_nodes) - seen
        seen |= new
        behind += new
    kept = [place for place in range(len(names)) if inputs[place] in seen]
    output.args = ([loss, *(slopes[place] for place in kept)],)
    return [names[place] for place in kept]


def compiled_step(
    method: MetaLearner, episodes: Episode, *noise: Float[Tensor, "t size"], bf16: bool = False
) -> WholeStep:
    """A method's meta-step, compiled for batches like `episodes`; `fit` does so by itself with compile="always".

        step = compiled_step(method, episodes)       # a minute or so; step.seconds says how long
        loss, slopes = step(episodes)                # {"net.layers.1.weight": ..., "head.bias": ...}

    Args:
        method: Its weights are read anew at each call.
        episodes: A batch of tasks as `core.episode.to_device` gives them.
        noise: What `adapt` takes besides the support, with an axis of tasks.
        bf16: Compute under bfloat16 autocast.

    Raises:
        Exception: whatever torch raises where it cannot trace or compile (without a C++ compiler, say).
    """
    step = WholeStep(method, bf16=bf16)
    step(episodes, *noise)
    return step


class Choice:
    """Whether a training run's gradients come from a compiled graph: what `Training.compile` asks for.

    "auto" times a few eager steps; where compiling is expected to save more than it costs in the steps that are left,
    it compiles, compares, and keeps the quicker. What it found is remembered in the cache folder, where the next run
    reads what to expect, and the choice is part of the run's state: a resumed run does not choose again.
    """

    def __init__(self, state: TrainState, backend: str = "inductor") -> None:
        self.state, self.backend = state, backend
        self.wish: str = state.training.compile
        self.step: WholeStep | None = None
        self.shapes: set[Any] = set()
        self.times: list[float] = []

    def take(self, how: How, part: Batch) -> tuple[Tensor, Weights] | None:
        """The mean meta-loss of these tasks and its gradient by the compiled step, or None if it is to be eager."""
        if self.wish == "never":
            return None
        self.shapes.add(tuple(leaf.shape for leaf in tree.leaves(part)))
        if self.wish == "auto" and not self._ripe(how, part):
            return None
        if self.step is None:
            bf16 = self.state.training.precision == "bf16"
            self.step = WholeStep(self.state.method, how=how, bf16=bf16, backend=self.backend)
        before = self.step.seconds
        try:
            found = self.step(*part)
        except Exception as error:  # of whatever kind: tracing and compiling fail in many ways, training goes on
            self._give_up(error)
            return None
        if self.step.seconds > before:
            self._note(self.step, how, part)
        return found

    def took(self, seconds: float) -> None:
        """Note how long a step's gradient took."""
        self.times.append(seconds)

    def _ripe(self, how: How, part: Batch) -> bool:
        """Whether auto has seen enough to compile, or has chosen to before."""
        if self.step is not None:
            return len(self.shapes) == 1  # steps of other shapes, met later, are taken eagerly
        chosen = self.state.compiled
        if chosen is not None:
            self.wish = "always" if chosen["kept"] else "never"
            return bool(chosen["kept"])
        known = remembered.recall(self._key(how, part))
        if known is not None and not known["kept"]:
            self.wish = "never"
            return False
        if len(self.times) < TRIED:
            return False
        ripe = len(self.shapes) == 1 and self._pays(how, part, known)
        self.wish = self.wish if ripe else "never"
        return ripe

    def _pays(self, how: How, part: Batch, known: dict[str, Any] | None) -> bool:
        """Whether a compilation is expected to save more time than it takes."""
        left = self.state.seconds_left(median(self.times[2:]))
        if known is not None:
            return bool(known["seconds"] <= (1 - known["compiled"] / known["eager"]) * left)
        each, count = pace_of_operations(self.state, how, part)
        cost, saved = (SETUP + EACH * count, SAVED) if each < SMALL else (GUESS, PERHAPS)
        return cost <= saved * left

    def _note(self, step: WholeStep, how: How, part: Batch) -> None:
        """Compare the step just compiled with the eager one, and put what was found into the run's state."""
        device = part[0].support.x.device
        compiled = seconds_of(lambda: step(*part)[0], device)
        eager = seconds_of(lambda: gradient(self.state, how, part), device)
        kept = self.wish == "always" or compiled < eager
        found = {"kept": kept, "seconds": round(step.seconds, 2), "eager": eager, "compiled": compiled}
        remembered.remember(self._key(how, part), found | {"kept": compiled < eager})
        self.state.compiled = found | {"step": self.state.number + 1}
        if not kept:
            self.wish = "never"

    def _key(self, how: How, part: Batch) -> str:
        return remembered.key_of(self.state.method, part, what="compile", how=how, bf16=self.state.training.precision)

    def _give_up(self, error: Exception) -> None:
        self.wish = "never"
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:300]
        warnings.warn(
            f"the step could not be compiled, so training goes on without: {reason} (torch.compile needs a C++ compiler"
            ' such as g++, and a method that can be traced). compile="never" leaves this message out.',
            stacklevel=2,
        )
