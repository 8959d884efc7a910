"""Learners at hand: bounded in bytes, the least recently used given up first, a later revision never replaced."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("prometheus_client", reason="prometheus_client comes with the extra `serve`")

from quickstudy.bundle import Learner
from quickstudy.serve.cache import OVERHEAD, Cache, Live
from quickstudy.serve.metrics import Metrics
from serve.asking import bundle

MODEL = bundle()


def live(revision: int = 0, numbers: int = 256) -> Live:
    return Live.of(MODEL, Learner((torch.zeros(numbers),), 2, MODEL.version), ("a", "b"), revision)


def gauge(metrics: Metrics, name: str) -> Any:
    return metrics.registry.get_sample_value(name)


def test_the_least_recently_used_goes_first() -> None:
    metrics = Metrics()
    one = live().learner.nbytes + OVERHEAD
    cache = Cache(3 * one, metrics)
    for id in "abc":
        cache.put("t", id, live())
    assert cache.get("t", "a") is not None
    cache.put("t", "d", live())
    assert [id for id in "abcd" if cache.get("t", id)] == ["a", "c", "d"]
    assert gauge(metrics, "quickstudy_cached_learners") == 3
    assert gauge(metrics, "quickstudy_cached_learner_bytes") == 3 * one
    cache.put("t", "large", live(numbers=10 * one))  # one that is larger than all of it stays while it is used
    assert [id for id in ("a", "c", "d", "large") if cache.get("t", id)] == ["large"]
    cache.drop("t", "large")
    assert gauge(metrics, "quickstudy_cached_learner_bytes") == 0


def test_a_later_revision_stays() -> None:
    cache = Cache(10**6, Metrics())
    cache.put("t", "a", live(5))
    cache.put("t", "a", live(4))
    found = cache.get("t", "a")
    assert found is not None
    assert found.revision == 5
    cache.put("t", "a", live(6))
    found = cache.get("t", "a")
    assert found is not None
    assert found.revision == 6


def test_tenants_share_nothing() -> None:
    cache = Cache(10**6, Metrics())
    cache.put("alice", "a", live())
    assert cache.get("bob", "a") is None
    cache.drop("bob", "a")
    assert cache.get("alice", "a") is not None
