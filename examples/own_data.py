"""Few-shot tasks from arrays of your own: twenty kinds of noisy waveforms, five of which are never seen in training."""

import os

import torch

from quickstudy import ProtoNet, Training, fit
from quickstudy.evaluate import evaluate
from quickstudy.nets import MLP
from quickstudy.tasks.fewshot import ArrayTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits

STEPS = int(os.environ.get("QUICKSTUDY_EXAMPLE_STEPS", "300"))


def waveforms(kinds: range) -> Pool:
    """Forty noisy recordings of each kind; a kind is a mixture of harmonics, shifted at random."""
    generator = torch.Generator().manual_seed(kinds.start)
    time = torch.linspace(0, 2 * torch.pi, 32)
    harmonics = torch.arange(1, 5)
    strength = torch.randn(len(kinds), 1, 4, 1, generator=generator)
    shift = torch.rand(len(kinds), 40, 1, 1, generator=generator)
    waves = (strength * torch.sin(harmonics[:, None] * (time + shift))).sum(2)
    noisy = waves + 0.3 * torch.randn(waves.shape, generator=generator)
    labels = torch.arange(len(kinds)).repeat_interleave(40)
    return Pool.from_arrays(noisy.flatten(0, 1), labels, names=[f"kind {kind}" for kind in kinds])


splits = Splits(train=waveforms(range(100)), val=waveforms(range(100, 120)), test=waveforms(range(120, 140)))
tasks = ArrayTasks(splits=splits, ways=5, shots=1, queries=10)

torch.manual_seed(0)
method = ProtoNet(MLP(item=(32,), hidden=(128, 64)), temperature=8.0)
before = evaluate(method, tasks.source("test"), episodes=200)
for step in fit(method, tasks.source("train"), Training(steps=STEPS, batch=16, rate=1e-3)):
    if step.number % 100 == 0:
        print(f"step {step.number}: loss {step.loss:.2f}")
after = evaluate(method, tasks.source("test"), episodes=200)
print(f"five unseen kinds, one example each: {before.mean:.3f} before training, {after.mean:.3f} after")
