"""Exact resume where tasks differ in size: how a step is computed must not depend on where a process began."""

from __future__ import annotations

import torch

from quickstudy.core.settings import settings
from quickstudy.tasks.fewshot import FewShotTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits
from quickstudy.train.loop import fit
from quickstudy.train.run import RunSettings, build_method, training_source
from quickstudy.train.state import TrainState
from train.runs import weights


@settings
class Wide(FewShotTasks):
    """Classes of noise, wide enough that a step of a few tasks is taken in chunks, larger ones of smaller tasks."""

    def pools(self) -> Splits:
        return _POOLS


def _noise(split: int) -> Pool:
    x = torch.randn(8 * 10, 4096, generator=torch.Generator().manual_seed(split))
    return Pool.from_arrays(x, torch.arange(8).repeat_interleave(10), [f"{split}/{number}" for number in range(8)])


_POOLS = Splits(*map(_noise, range(3)))


def test_resumed_at_any_step_of_tasks_of_varying_sizes_a_run_ends_bit_for_bit_the_same() -> None:
    run = RunSettings.read(
        {
            "method": "protonet",
            "net": {"name": "mlp", "hidden": [8]},
            "tasks": {"name": f"{__name__}:Wide", "ways": [2, 7], "shots": [1, 5], "queries": 4},
            "training": {"steps": 10, "batch": 6},
        }
    )
    source = training_source(run)
    whole = TrainState(build_method(run), run.training)
    saved = []
    for step in fit(whole.method, source, state=whole):
        tensors = {name: value.clone() for name, value in step.state.tensors().items()}
        saved.append((tensors, step.state.scalars()))
    for tensors, scalars in saved[:-1]:
        again = TrainState(build_method(run), run.training)
        again.restore(tensors, scalars)
        for step in fit(again.method, source, state=again):
            assert step.number > scalars["number"]
        assert torch.equal(weights(again.method), weights(whole.method)), f"resumed after step {scalars['number']}"
