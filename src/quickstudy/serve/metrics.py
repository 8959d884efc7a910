"""What a server counts, in the form that Prometheus reads. No label names a tenant, a learner or a class."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one process; those of all together where PROMETHEUS_MULTIPROC_DIR names their folder."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "quickstudy_requests", "Requests answered.", ["method", "route", "status"], registry=own
        )
        self.seconds = Histogram(
            "quickstudy_request_seconds",
            "From a request's head to the end of its answer.",
            ["method", "route"],
            buckets=SECONDS,
            registry=own,
        )
        self.refused = Counter("quickstudy_refusals", "Requests not done, by reason.", ["code"], registry=own)
        self.under_way = Gauge(
            "quickstudy_requests_under_way",
            "Requests that are being worked on.",
            registry=own,
            multiprocess_mode="livesum",
        )
        self.batch = Histogram(
            "quickstudy_batch_size", "Requests in one mapped call.", ["work"], buckets=SIZES, registry=own
        )
        self.compute = Histogram(
            "quickstudy_compute_seconds", "Of one mapped call.", ["work"], buckets=SECONDS, registry=own
        )
        self.waited = Histogram(
            "quickstudy_batch_wait_seconds",
            "From a request being ready for its mapped call to the beginning of it.",
            ["work"],
            buckets=SECONDS,
            registry=own,
        )
        self.cached = Gauge(
            "quickstudy_cached_learners", "Unpacked learners at hand.", registry=own, multiprocess_mode="livesum"
        )
        self.cached_bytes = Gauge(
            "quickstudy_cached_learner_bytes", "What they take.", registry=own, multiprocess_mode="livesum"
        )
        self.lookups = Counter("quickstudy_learner_lookups", "Learners looked up.", ["found"], registry=own)
        self.from_cache = self.lookups.labels("cache")
        self.models = Gauge(
            "quickstudy_model_loaded",
            "1 for each version of a model that is loaded.",
            ["model", "version", "newest"],
            registry=own,
            multiprocess_mode="livemax",
        )
        self.loads = Counter(
            "quickstudy_model_loads", "New versions of models, by how it went.", ["model", "result"], registry=own
        )
        self.readapted = Counter(
            "quickstudy_learners_readapted", "Learners that followed to a new version.", ["result"], registry=own
        )

    def text(self) -> bytes:
        """All of it, as Prometheus scrapes it."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
