"""MAML from the inside: meta-train a sine regressor, then watch one wave being learned from five points."""

import os

import torch

from quickstudy import MAML, SGD, Training, fit, over_tasks
from quickstudy.nets import MLP
from quickstudy.tasks.sines import Sines

STEPS = int(os.environ.get("QUICKSTUDY_EXAMPLE_STEPS", "3000"))

torch.manual_seed(0)
tasks = Sines(shots=10, queries=10)
method = MAML(MLP(item=(1,)), outputs=1, steps=1, rule=SGD(rate=0.01), likelihood="gaussian")

for step in fit(method, tasks.source("train"), Training(steps=STEPS, batch=25, rate=1e-3)):
    if step.number % 500 == 0 or step.number == STEPS:
        print(f"step {step.number}: meta-loss {step.loss:.2f}")

waves = Sines(shots=5, queries=50).source("test").batch(range(200))
for steps in (0, 1, 5, 10):

    def error(wave, steps=steps):
        learner = method.adapt_for(wave.support, steps)
        return method.predict(learner, wave.query.x).score(wave.query.y).mean()

    with torch.no_grad():
        print(f"after {steps:2} inner steps: mean squared error {over_tasks(error, waves).mean():.2f}")
