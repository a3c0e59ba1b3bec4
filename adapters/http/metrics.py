"""Numbers for Prometheus, under the names of the reliability rules. No label grows with what callers send."""

from collections import Counter as Count
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)  # fmt: skip
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """A registry of its own; what the daemon knows is put in when somebody asks."""

    def __init__(self, version: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("tokd_build_info", "The version that runs.", ["version"], registry=registry).labels(
            version
        ).set(1)
        self._posts = Gauge("tokd_posts", "Posts by state.", ["state"], registry=registry)
        self._outbox = Gauge(
            "tokd_outbox_pending", "Messages the broker does not have yet.", registry=registry
        )
        self._sessions = Gauge(
            "tokd_browser_sessions",
            "Browser sessions that are not over, by state.",
            ["state"],
            registry=registry,
        )
        self._loops = Gauge(
            "tokd_loop_age_seconds", "Seconds since a loop has last turned.", ["loop"], registry=registry
        )
        self._tokens = Gauge(
            "tokd_token_expiry_timestamp_seconds", "When an account's refresh token expires.", ["account"],
            registry=registry,
        )  # fmt: skip
        self._requests = Histogram(
            "tokd_http_request_duration_seconds", "How long requests took, by endpoint and status.",
            ["endpoint", "outcome"], registry=registry, buckets=_SECONDS,
        )  # fmt: skip

    def observe(self, endpoint: str, status: int, seconds: float) -> None:
        """Note one request; status 0 is one that was given up."""
        self._requests.labels(endpoint, str(status or "none")).observe(seconds)

    def page(
        self, health: Mapping[str, Any], sessions: Iterable[Mapping[str, Any]],
        accounts: Iterable[Mapping[str, Any]], loops: Mapping[str, float],
    ) -> bytes:  # fmt: skip
        """Return the page, with these numbers."""
        _fill(self._posts, health["posts"])
        self._outbox.set(health["outbox"])
        _fill(self._sessions, Count(found["state"] for found in sessions))
        _fill(self._loops, loops)
        expiry = {
            found["account"]: datetime.fromisoformat(found["refresh_expires_at"]).timestamp()
            for found in accounts
            if "refresh_expires_at" in found
        }
        _fill(self._tokens, expiry)
        return generate_latest(self._registry)


def _fill(gauge: Gauge, values: Mapping[str, float]) -> None:
    gauge.clear()
    for label, value in values.items():
        gauge.labels(label).set(value)
