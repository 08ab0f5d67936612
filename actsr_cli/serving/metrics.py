"""Numbers about the service in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_HISTORIES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The numbers of one service.

    Args:
        held: tells how many histories are accepted and not answered.
    """

    def __init__(self, held: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("actsr_requests", "Answered requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "actsr_request_seconds", "From header to answer.", ["route"], buckets=_SECONDS, registry=registry
        )
        Gauge("actsr_queue_histories", "Histories accepted and not answered.", registry=registry).set_function(held)
        self.batch_histories = Histogram(
            "actsr_batch_histories", "Histories of a batch.", buckets=_HISTORIES, registry=registry
        )
        self.batch_seconds = Histogram(
            "actsr_batch_seconds", "Computation of a batch.", buckets=_SECONDS, registry=registry
        )
        self.swaps = Counter("actsr_model_swaps", "Newer runs that have taken over.", registry=registry)
        self.broken = Counter("actsr_model_broken", "Newer runs that could not be loaded.", registry=registry)
        self.model = Info("actsr_model", "The run whose model answers.", registry=registry)

    def batch_done(self, histories: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_histories.observe(histories)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All numbers."""
        return generate_latest(self._registry)


__all__ = ["CONTENT_TYPE", "Metrics"]
