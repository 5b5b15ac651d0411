"""What Prometheus sees of the server."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The server's counters, in a registry of their own so that two servers in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own = self._registry
        self.requests = Counter("gaze_requests_total", "Requests answered", ["route", "status"], registry=own)
        self.latency = Histogram(
            "gaze_request_seconds", "Time from request to answer", ["route"], buckets=SECONDS, registry=own
        )
        self.images = Counter("gaze_images_total", "Pictures answered", ["version"], registry=own)
        self.batch = Histogram(
            "gaze_batch_images", "Pictures in one batch", buckets=(1, 2, 4, 8, 16, 32, 64), registry=own
        )
        self.rejected = Counter("gaze_rejected_total", "Requests refused by a limit", ["reason"], registry=own)
        self.reloads = Counter("gaze_reloads_total", "Attempts to load a version", ["outcome"], registry=own)
        self.version = Gauge(
            "gaze_model_version",
            "Number of the version that answers (0: none)",
            multiprocess_mode="livemin",
            registry=own,
        )
        self.stale = Gauge(
            "gaze_registry_stale",
            "1 while the registry does not confirm the version",
            multiprocess_mode="livemax",
            registry=own,
        )
        for outcome in ("loaded", "failed"):
            self.reloads.labels(outcome)

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format, of all worker processes where there are several."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
            return generate_latest(registry)
        return generate_latest(self._registry)
