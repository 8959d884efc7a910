"""Validation and early stopping are ordinary Python around the training loop; so is keeping the best weights."""

import copy
import os

import torch

from quickstudy import ProtoNet, Training, fit
from quickstudy.evaluate import evaluate
from quickstudy.nets import Conv4
from quickstudy.tasks.glyphs import Glyphs

STEPS = int(os.environ.get("QUICKSTUDY_EXAMPLE_STEPS", "300"))
EVERY, PATIENCE = max(1, STEPS // 10), 3

torch.manual_seed(0)
tasks = Glyphs(ways=5, shots=1, queries=5)
method = ProtoNet(Conv4(item=(1, 28, 28), width=32), temperature=8.0)

best, weights, waited = 0.0, copy.deepcopy(method.state_dict()), 0
for step in fit(method, tasks.source("train"), Training(steps=STEPS, batch=8, rate=2e-3, schedule="cosine")):
    if step.number % EVERY:
        continue
    validation = evaluate(method, tasks.source("val"), episodes=20).mean  # never the test split
    print(f"step {step.number}: loss {step.loss:.2f}, validation accuracy {validation:.3f}")
    if validation > best:
        best, weights, waited = validation, copy.deepcopy(method.state_dict()), 0
    elif (waited := waited + 1) == PATIENCE:
        break

method.load_state_dict(weights)
result = evaluate(method, tasks.source("test"), episodes=50)
print(f"test accuracy on unseen scripts: {result.mean:.3f} ({result.low:.3f} to {result.high:.3f})")
