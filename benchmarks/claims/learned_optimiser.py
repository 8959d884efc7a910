"""An LSTM that has learned to step finds lower values of new quadratic functions than optimisers made by hand.

    python benchmarks/claims/learned_optimiser.py

The claim (Andrychowicz et al. 2016, section 3.1): on functions f(θ) = ‖Wθ - y‖² of ten numbers, the elements of W and y
standard normal, its optimiser is below SGD, Nesterov's momentum, RMSprop and Adam within the 100 steps that it was
trained for, each of them with the rate that suits such functions best. Where steps diverge, they count as none: a value
above the first is taken for the first. Training goes back through 20 steps at a time, as the paper's. How it goes on
for five times as many is measured too, and where functions have twice as many numbers: no training had either, and no
rate was chosen for it.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from trained import Values, interval, write

from quickstudy.core import tree
from quickstudy.inner.lstm import CoordinateLSTM
from quickstudy.inner.rules import Params

SIZE, STEPS, LONGER = 10, 100, 500
UNROLLED = 20
"""Steps that training goes back through."""
VALIDATION = 10_000
"""Functions that rates are chosen on: one in some thousands is so steep that a rate which suits the others diverges."""
SHOWN = (0, 10, 20, 50, 100, 200, 500)
RATES = [10 ** (quarter / 4) for quarter in range(-16, 3)]
"""From 0.0001 to 3, four in a decade."""
BY_HAND: dict[str, Callable[[Tensor, float], torch.optim.Optimizer]] = {
    "SGD": lambda place, rate: torch.optim.SGD([place], rate),
    "Nesterov": lambda place, rate: torch.optim.SGD([place], rate, momentum=0.9, nesterov=True),
    "RMSprop": lambda place, rate: torch.optim.RMSprop([place], rate),
    "Adam": lambda place, rate: torch.optim.Adam([place], rate),
}
RULE = CoordinateLSTM()

Functions = tuple[Tensor, Tensor, Tensor]
"""W [n, d, d], y [n, d], and where the steps on each of them start [n, d]."""


def main() -> None:
    """Train, evaluate, print and write."""
    torch.set_num_threads(1)
    asked = _asked()
    began = time.perf_counter()
    learned = _trained(asked)
    seconds = time.perf_counter() - began
    validation = _functions(torch.Generator().manual_seed(1), VALIDATION)
    rates = {name: _best_rate(name, validation) for name in BY_HAND}
    print(f"rates with the lowest values after {STEPS} steps on validation functions: {rates}")
    found = {}
    for at, (title, size, steps) in enumerate([("as trained", SIZE, LONGER), ("20 numbers", 2 * SIZE, STEPS)]):
        functions = _functions(torch.Generator().manual_seed(2 + at), asked.tasks, size)
        with torch.no_grad():
            values = {
                "LSTM": torch.cat([_values(functions[2], functions)[:, None], *_walk(learned, functions, steps)], 1)
            }
        values |= {name: _by_hand(name, rate, functions, steps) for name, rate in rates.items()}
        print(f"{title}: values after so many steps, {asked.tasks} functions")
        found[title] = _summary({name: torch.fmin(each, each[:, :1]).double().numpy() for name, each in values.items()})
    training = {"batch": asked.batch, "rate": asked.rate, "clip": 1.0, "schedule": "cosine", "seed": asked.seed}
    trained = {
        "steps": asked.steps,
        "seconds": seconds,
        "weights": sum(leaf.numel() for leaf in learned.values()),
        "settings": {"rule": dataclasses.asdict(RULE), "training": training},
    }
    record = {"trained": {"coordinate-lstm": trained}, "test tasks": asked.tasks, "rates": rates}
    write(asked.out, {}, record | {"values after": found})


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000, help="outer ones, five for a batch of functions")
    parser.add_argument("--batch", type=int, default=128, help="functions taken together")
    parser.add_argument("--rate", type=float, default=0.003)
    parser.add_argument("--tasks", type=int, default=2000, help="test functions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/records/claims/learned_optimiser.json"))
    return parser.parse_args()


def _functions(stream: torch.Generator, count: int, size: int = SIZE) -> Functions:
    """New ones. Steps start near 0, as in the authors' code."""
    w, y, start = (torch.randn(count, *each, generator=stream) for each in ((size, size), (size,), (size,)))
    return w, y, 0.01 * start


def _value(params: Params, w: Tensor, y: Tensor) -> Tensor:
    return (w @ params["place"] - y).square().sum()


def _values(place: Tensor, functions: Functions) -> Tensor:
    """Of each function at its place, [n]."""
    found: Tensor = torch.vmap(_value)({"place": place}, *functions[:2])
    return found


# --- the learned optimiser --------------------------------------------------------------------------------------------


def _walk(learned: Params, functions: Functions, steps: int) -> Iterator[Tensor]:
    """Values after each of `UNROLLED` steps, [n, UNROLLED], again and again, from where the last left off.

    What was learned may change in between: derivatives do not reach back to the steps before.
    """
    w, y, start = functions
    params = {"place": start}
    state = torch.vmap(RULE.start)(params)
    for _ in range(0, steps, UNROLLED):
        values, params, state = torch.vmap(_stretch, (None, 0, 0, 0, 0))(learned, w, y, params, state)
        yield values
        params, state = tree.map_leaves(Tensor.detach, (params, state))


def _stretch(learned: Params, w: Tensor, y: Tensor, params: Params, state: Any) -> tuple[Tensor, Params, Any]:
    values = []
    for _ in range(UNROLLED):
        # the paper drops the derivatives of slopes
        slope = tree.map_leaves(Tensor.detach, torch.func.grad(_value)(tree.map_leaves(Tensor.detach, params), w, y))
        params, state = RULE.step(params, slope, state, learned)
        values.append(_value(params, w, y))
    return torch.stack(values), params, state


def _trained(asked: argparse.Namespace) -> Params:
    """What the optimiser learned: to make the values after all its steps low (the paper's equation 3)."""
    learned = {name: leaf.requires_grad_() for name, leaf in RULE.learned({"place": torch.zeros(SIZE)}).items()}
    adam = torch.optim.Adam(learned.values(), asked.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, asked.steps)
    stream, number, told = torch.Generator().manual_seed(asked.seed), 0, []
    while number < asked.steps:
        for values in _walk(learned, _functions(stream, asked.batch), STEPS):
            adam.zero_grad()
            values.mean().backward()
            torch.nn.utils.clip_grad_norm_(learned.values(), 1.0)
            adam.step()
            falling.step()
            number += 1
        told.append(float(values[:, -1].detach().mean()))
        if number % 250 == 0:
            print(f"step {number:5}  value after {STEPS} steps {np.mean(told):.4f}", flush=True)
            told = []
    return learned


# --- optimisers by hand -----------------------------------------------------------------------------------------------


def _by_hand(name: str, rate: float, functions: Functions, steps: int) -> Tensor:
    """Values before, between and after steps, [n, steps + 1]; each of these optimisers treats every number alike."""
    place, values = functions[2].clone().requires_grad_(), []
    optimiser = BY_HAND[name](place, rate)
    for _ in range(steps + 1):
        value = _values(place, functions)
        values.append(value.detach())
        optimiser.zero_grad()
        value.sum().backward()
        optimiser.step()
    return torch.stack(values, 1)


def _best_rate(name: str, functions: Functions) -> float:
    """Of `RATES`, the one with the lowest mean after as many steps as the LSTM was trained for."""
    last = {rate: float(_by_hand(name, rate, functions, STEPS)[:, -1].mean().nan_to_num(torch.inf)) for rate in RATES}
    return min(RATES, key=last.__getitem__)


def _summary(values: dict[str, Values]) -> dict[str, Any]:
    """Means and medians by steps, printed on the way, and by how much the LSTM is above each of the others."""
    shown = [at for at in SHOWN if at < values["LSTM"].shape[1]]
    for name, each in values.items():
        print(f"{name:10}" + "".join(f"{at:5}: {each[:, at].mean():8.4f}" for at in shown), flush=True)
    means = {name: {str(at): interval(each[:, at]) for at in shown} for name, each in values.items()}
    medians = {name: {str(at): float(np.median(each[:, at])) for at in shown} for name, each in values.items()}
    others = [name for name in values if name != "LSTM"]
    above = {name: {str(at): interval(values["LSTM"][:, at] - values[name][:, at]) for at in shown} for name in others}
    return {"mean": means, "median": medians, "LSTM minus": above}


if __name__ == "__main__":
    main()
