"""What numbers below the normal range cost, and what it saves to take them as 0, as training and evaluation do.

    python benchmarks/denormals.py

Two cases: the backward pass of a convolution on cotangents of 1e-40, beside one on cotangents of 1; and a Proto-MAML
step whose start explains its support so well that hardly a slope is left. Each is the quickest of several, in
milliseconds of the processor, with the processor's mode for such numbers off and on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from harness.alone import keep, milliseconds

from quickstudy import Episode, Examples
from quickstudy.methods.gradient.protomaml import ProtoMAML
from quickstudy.nets import Conv4

REPEATS = 5


def main() -> None:
    """Time both cases, print and keep them."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases = {
        "convolution, cotangents of 1": convolution(1.0),
        "convolution, cotangents of 1e-40": convolution(1e-40),
        "Proto-MAML, hardly a slope left": protomaml(),
    }
    rows = {
        name: {"kept": spent(case, flush=False), "taken as 0": spent(case, flush=True)} for name, case in cases.items()
    }
    for name, row in rows.items():
        print(f"{name:34}" + "  ".join(f"{mode} {ms:.1f} ms" for mode, ms in row.items()))
    keep("denormals", rows)


def spent(case: Callable[[], object], *, flush: bool) -> float:
    """Milliseconds of the processor."""
    torch.set_flush_denormal(flush)
    return round(milliseconds(case, REPEATS), 1)


def convolution(scale: float) -> Callable[[], object]:
    """The backward pass of a layer of Conv-4, on cotangents of this size."""
    x, weight = torch.randn(25, 64, 14, 14, requires_grad=True), torch.randn(64, 64, 3, 3, requires_grad=True)
    out = F.max_pool2d(F.relu(F.conv2d(x, weight, padding=1)), 2)
    along = torch.full_like(out, scale)
    return lambda: torch.autograd.grad(out, (x, weight), along, retain_graph=True)


def protomaml() -> Callable[[], object]:
    """A meta-step on one task, after the last layer has learned to set classes far apart."""
    method = ProtoMAML(Conv4((1, 28, 28)), steps=2)
    scales = [weight for name, weight in method.net.named_parameters() if weight.ndim == 1 and name.endswith("weight")]
    with torch.no_grad():
        scales[-1].fill_(GAIN)
    y = torch.eye(5, dtype=torch.bool)
    x = torch.randn(5, 1, 28, 28)
    near = x.repeat(5, 1, 1, 1) + 0.1 * torch.randn(25, 1, 28, 28)
    support, query = (Examples(x, y, y.any(1)), Examples(near, y.repeat(5, 1), y.any(1).repeat(5)))
    return lambda: method.meta_loss(Episode(support, query)).backward()


GAIN = 1.5
"""The scale of the last normalising layer at which the support's slopes are below the normal range, and not yet 0."""


if __name__ == "__main__":
    main()
