"""The choices of a training run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quickstudy.core.how import AskedHow
from quickstudy.core.settings import Count, Fraction, Rate, Size, settings

__all__ = ["Training"]


@settings
class Training:
    """How a method is trained."""

    steps: Size = 1000
    """Outer steps: the length of the run and of its schedule."""
    batch: Size = 16
    """Tasks of each step. A method that trains on flat batches takes one of eight times as many examples."""
    rate: Rate = 1e-3
    """Step size of the outer optimizer, at its highest."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Which of torch's optimizers takes the outer steps."""
    momentum: Fraction = 0.9
    """Momentum of sgd; the others have their own."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the outer optimizer."""
    schedule: Literal["constant", "cosine", "step"] = "constant"
    """How the step size falls: not at all; along a cosine to zero; or to a half at each tenth of the run."""
    warmup: Count = 0
    """Steps in which the step size rises from zero."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Longest meta-gradient; longer ones are shortened to this norm."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 computes convolutions and matrix products in bfloat16 (torch.autocast); weights stay float32."""
    channels_last: bool = False
    """Store convolutions with their channels last: quicker on a CPU where tasks are taken one after the other."""
    how: AskedHow = "auto"
    """Tasks of a step together ("map") or one after the other ("loop"); auto loops where that is quicker."""
    chunk: Size | None = None
    """At most this many tasks are mapped together; memory grows with it. By default as many as are quicker that way."""
    compile: Literal["never", "auto", "always"] = "never"
    """Compile the whole step into one graph, in a minute or so: many times quicker for small nets, equal but for
    rounding. Auto does so where it pays for the steps left, by a measurement, so that rounding may differ from run to
    run; "never" gives the same weights each time."""
    device: str = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    minutes: Rate | None = None
    """Stop after this much wall-clock time. The schedule then follows the time where that runs out before the steps,
    so such a run depends on the machine; exact resume is a promise of runs by steps."""
    split: Literal["train", "train+val"] = "train"
    """Which tasks to train on. "train+val" is for when every setting is chosen: nothing is left to validate on, and the
    last weights are the run's."""
    start: str | None = None
    """The folder of a trained run whose net this one starts from: Meta-Baseline from a conventional classifier, say.
    The net is then that run's, unless one is asked for."""
    seed: Count = 0
    """Seed of the initial weights and of the episodes."""
