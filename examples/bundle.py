"""A trained method as one folder: saved, opened elsewhere, taught new classes, and a learner kept as bytes."""

import os
import tempfile
from pathlib import Path

import torch

from quickstudy import Bundle, ProtoNet, Training, fit
from quickstudy.bundle import Learner
from quickstudy.encoders import VectorEncoder
from quickstudy.nets import MLP
from quickstudy.tasks.fewshot import ArrayTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.splits import Splits

STEPS = int(os.environ.get("QUICKSTUDY_EXAMPLE_STEPS", "300"))


def bells(kinds: range) -> Pool:
    """Forty recordings of each kind of bell: a few of sixteen frequencies ring, in noise."""
    generator = torch.Generator().manual_seed(kinds.start)
    ringing = (torch.rand(len(kinds), 1, 16, generator=generator) < 0.3).float()
    heard = ringing + 0.4 * torch.randn(len(kinds), 40, 16, generator=generator)
    labels = torch.arange(len(kinds)).repeat_interleave(40)
    return Pool.from_arrays(heard.flatten(0, 1), labels, names=[f"bell {kind}" for kind in kinds])


tasks = ArrayTasks(splits=Splits(bells(range(100)), bells(range(100, 120)), bells(range(120, 140))), queries=10)
torch.manual_seed(0)
method = ProtoNet(MLP(item=(16,), hidden=(64, 32)), temperature=8.0)
for _ in fit(method, tasks.source("train"), Training(steps=STEPS, batch=8, rate=1e-3)):
    pass

with tempfile.TemporaryDirectory() as place:
    folder = Path(place) / "bells"
    Bundle(method, VectorEncoder(item=(16,)), name="bells", outputs=5, licence="CC0-1.0").save(folder)
    print("saved:", ", ".join(f"{file.name} ({file.stat().st_size} bytes)" for file in sorted(folder.iterdir())))

    bundle = Bundle.open(folder)  # on any machine: no data and no training code are needed
    task = tasks.source("test").batch([0])
    heard, bell = task.support.x[0].tolist(), task.support.y[0].int().argmax(-1).tolist()
    learner = bundle.adapt(bundle.encoder.encode(heard), bell, ways=5)
    kept = learner.to_bytes()  # a few kilobytes: a database can hold one for each user

    again = Learner.from_bytes(kept)
    said = bundle.predict(again, task.query.x[0]).mean
    right = (said.argmax(-1) == task.query.y[0].int().argmax(-1)).float().mean()
    print(f"version {bundle.version}: a learner of {len(kept)} bytes is right about {right:.0%} of five new bells")
