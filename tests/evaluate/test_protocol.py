"""A protocol is its episodes: frozen, hashed, and changed only by what changes them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from quickstudy.errors import SettingsError
from quickstudy.evaluate import Protocol
from quickstudy.tasks.fewshot import ArrayTasks
from quickstudy.tasks.pool import Pool
from quickstudy.tasks.sines import Sines
from quickstudy.tasks.splits import Splits


def test_tasks_come_by_name_mapping_or_object() -> None:
    by_name = Protocol(tasks="sines")  # type: ignore[arg-type]
    by_mapping = Protocol(tasks={"name": "sines", "shots": 10})  # type: ignore[arg-type]
    assert by_name == by_mapping == Protocol(tasks=Sines())


def test_the_digest_changes_with_what_changes_the_episodes_and_with_nothing_else() -> None:
    plain = Protocol(tasks=Sines(), episodes=20)
    changed = [
        dataclasses.replace(plain, **change)
        for change in ({"split": "val"}, {"shots": 5}, {"queries": 7}, {"episodes": 21}, {"seed": 1})
    ]
    assert len({protocol.digest for protocol in [plain, *changed]}) == 6
    assert Protocol(tasks=Sines(shots=5), episodes=20).digest == changed[1].digest
    assert plain.digest == plain.source().digest(range(20))


def test_sizes_replace_those_of_the_tasks() -> None:
    episodes = Protocol(tasks=Sines(shots=10), shots=3, queries=4).source().batch([0])
    assert episodes.support.x.shape == (1, 3, 1)
    assert episodes.query.x.shape == (1, 4, 1)


def test_the_record_says_what_was_asked() -> None:
    def pool(name: str) -> Pool:
        x = torch.rand(24, 3, generator=torch.Generator().manual_seed(len(name)))
        return Pool.from_arrays(x, np.repeat(np.arange(6), 4), [f"{name}{i}" for i in range(6)], name=name)

    tasks = ArrayTasks(splits=Splits(pool("a"), pool("bb"), pool("ccc")), ways=2, shots=1, queries=2)
    protocol = Protocol(tasks=tasks, ways=(2, 4), episodes=5)
    info = protocol.info()
    assert (info.ways, info.shots, info.queries) == ((2, 4), 1, 2)
    assert info.digest == protocol.digest
    assert info.fingerprint == protocol.source().fingerprint
    assert Protocol(tasks=Sines()).info().ways is None


def test_impossible_protocols_are_refused() -> None:
    with pytest.raises(SettingsError, match="Sines has no setting 'ways'"):
        Protocol(tasks=Sines(), ways=5).source()
    with pytest.raises(SettingsError, match=r"Protocol\.episodes.*got 1"):
        Protocol(tasks=Sines(), episodes=1)
    with pytest.raises(SettingsError, match="no tasks named 'sine'; did you mean 'sines'"):
        Protocol(tasks="sine")  # type: ignore[arg-type]
