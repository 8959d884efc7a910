"""Methods on Conv-4, many tasks at once: those that share the net send all images through it in one pass."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bundle.made import bundle_of, episode_of, labels_of, subject_of
from helpers import passes_of_groups
from quickstudy.core.settings import load

SHOTS = (3, 1, 2, 3)
# Of each way to use a net one, and one that learns filters of its own.
METHODS = {
    "protonet": True,
    "relation": True,
    "tadam": True,
    "protomaml": True,
    "leo": True,
    "finetune": True,
    "dkt": True,
    "snail": True,
    "np": True,
    "cnaps": True,
    "maml": False,
}


@pytest.mark.parametrize("name", METHODS)
def test_many_is_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = load("net", {"name": "conv4", "width": 8})
    subject = dataclasses.replace(subject_of(name, "categorical"), net=net, item=(1, 16, 16))
    bundle = bundle_of(subject)
    tasks, queries = [], []
    for number, shots in enumerate(SHOTS):
        episode = episode_of(subject, number)
        labels = labels_of(episode)
        kept = [at for at, label in enumerate(labels) if labels[:at].count(label) < shots]
        tasks.append((episode.support.x[kept], [labels[at] for at in kept], None))
        queries.append(episode.query.x[: 3 + number])
    alone = [bundle.predict(bundle.adapt(*task), x).mean for task, x in zip(tasks, queries, strict=True)]

    passes = passes_of_groups(monkeypatch)
    together = bundle.predict_many(list(zip(bundle.adapt_many(tasks), queries, strict=True)))
    assert bool(passes) == METHODS[name]
    for said, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(said.mean, expected, atol=5e-5, rtol=0)
