"""Train until 200 validation episodes of Omniglot are solved well enough.

    python to_accuracy.py ARRAYS WHO TARGET LIMIT

One JSON line an evaluation: seconds of training so far (evaluations are not counted), steps, accuracy.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # in this folder "quickstudy" is a contender

Contender = tuple[Callable[[], None], Callable[[Any, Any], Any], int]
"""A step of training; predicted classes of queries, from a support; steps between evaluations."""


def quickstudy(arrays: dict[str, Any]) -> Contender:
    """Prototypical networks as in recipes/omniglot-protonet.yaml, at a constant rate."""
    from quickstudy import Examples, ProtoNet, Training, fit
    from quickstudy.nets import Conv4
    from quickstudy.tasks.omniglot import Omniglot

    torch.manual_seed(0)
    method = ProtoNet(Conv4((1, 28, 28)), temperature=8.0)
    training = Training(steps=10_000, batch=1, rate=3e-3, precision="bf16", channels_last=True)
    steps = fit(method, Omniglot(ways=60, shots=1, queries=5).source("train"), training)

    def step() -> None:
        next(steps)

    def predict(x: Any, query: Any) -> Any:
        method.eval()
        with torch.no_grad():
            y = torch.eye(len(x), dtype=torch.bool)
            learner = method.adapt(Examples(x, y, torch.ones(len(x), dtype=torch.bool)))
            found = method.predict(learner, query).logits.argmax(1)
        method.train()
        return found

    return step, predict, 10


def learn2learn(arrays: dict[str, Any], net: str) -> Contender:
    """Its example examples/vision/maml_omniglot.py: 32 tasks of five ways with one example to learn from and one to be
    scored on, one step of 0.5, Adam at 0.003. Its own net is fully connected; "cnn" puts its convolutional one there.

    Kinder than the example: no tasks of validation are computed between steps, and tasks are drawn by numpy.
    """
    from contenders.learn2learn import reach

    reach()
    from learn2learn.algorithms.maml import MAML

    torch.manual_seed(0)
    model = _fully_connected() if net == "fc" else _convolutional()
    maml = MAML(model, lr=0.5, first_order=False)
    optimizer = torch.optim.Adam(maml.parameters(), 0.003)
    images, labels = torch.from_numpy(arrays["images"]), arrays["labels"]
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    chance, loss = np.random.default_rng(0), torch.nn.CrossEntropyLoss()
    y = torch.arange(5)

    def adapted(x: Any) -> Any:
        learner = maml.clone()
        learner.adapt(loss(learner(x), y))
        return learner

    def step() -> None:
        optimizer.zero_grad()
        for _ in range(32):
            pairs = [chance.choice(rows[c], 2, replace=False) for c in chance.choice(len(rows), 5, replace=False)]
            x = images[np.array(pairs)].float() / 255
            loss(adapted(x[:, 0])(x[:, 1]), y).backward()
        for weight in maml.parameters():
            weight.grad.mul_(1 / 32)
        optimizer.step()

    def predict(x: Any, query: Any) -> Any:
        learner = adapted(x)
        with torch.no_grad():
            return learner(query).argmax(1)

    return step, predict, 20


def _fully_connected() -> Any:
    from torch import nn

    widths = [28**2, 256, 128, 64, 64]
    layers: list[Any] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        norm = nn.BatchNorm1d(outputs, momentum=0.999, eps=1e-3, track_running_stats=False)
        layers += [nn.Linear(inputs, outputs), norm, nn.ReLU()]
    layers.append(nn.Linear(64, 5))
    for layer in layers:
        if isinstance(layer, nn.Linear):  # as its OmniglotFC starts
            nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def _convolutional() -> Any:
    from torch import nn

    layers: list[Any] = []
    for inputs in (1, 64, 64, 64):
        norm = nn.BatchNorm2d(64, track_running_stats=False)
        layers += [nn.Conv2d(inputs, 64, 3, stride=2, padding=1), norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5))


WHO: dict[str, Callable[[dict[str, Any]], Contender]] = {
    "quickstudy": quickstudy,
    "learn2learn-fc": lambda arrays: learn2learn(arrays, "fc"),
    "learn2learn-cnn": lambda arrays: learn2learn(arrays, "cnn"),
}


def accuracy(predict: Callable[[Any, Any], Any], arrays: dict[str, Any]) -> float:
    """Over the validation episodes."""
    support, query = (torch.from_numpy(arrays[name]).float() / 255 for name in ("support", "query"))
    truth = torch.from_numpy(arrays["truth"])
    right = [(predict(x, q) == y).float().mean().item() for x, q, y in zip(support, query, truth, strict=True)]
    return float(np.mean(right))


def main() -> None:
    arrays = dict(np.load(sys.argv[1]))
    step, predict, every = WHO[sys.argv[2]](arrays)
    target, limit, seconds, number, found = float(sys.argv[3]), float(sys.argv[4]), 0.0, 0, 0.0
    while found < target and seconds < limit:
        start = time.perf_counter()
        for _ in range(every):
            step()
        seconds, number = seconds + time.perf_counter() - start, number + every
        found = accuracy(predict, arrays)
        print(json.dumps({"seconds": seconds, "steps": number, "accuracy": found}), flush=True)


if __name__ == "__main__":
    main()
