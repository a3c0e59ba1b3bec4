"""Numbers for Prometheus, under the names of reliability-security.md section 8. No label grows with what callers send.

What is counted stands in Figures, what the ledger knows in a Standing; here are only the names and the format.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from daemon.domain.events import EventType
from daemon.domain.figures import BOUNDS, Figures, Look, Standing, Tally, Timing

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_COUNTERS = {
    Tally.POST_MOVES: ("tokd_post_transitions", "Changes of posts' states.", ("from", "to")),
    Tally.INIT_CALLS: ("tokd_init_calls", "Calls that begin a post, by what came of them.", ("outcome",)),
    Tally.UPLOAD_BYTES: ("tokd_upload_bytes", "Bytes of media that the platform has taken.", ()),
    Tally.REPEATS: ("tokd_inbox_duplicates", "Commands that came again and were not done again.", ()),
    Tally.LAUNCH_FAILURES: ("tokd_browser_launch_failures", "Browser sessions that never came to run.", ()),
    Tally.LEFT_OUT: (
        "tokd_mqtt_answers_left_out",
        "Answers over MQTT for which there was no room: their actor sent faster than it could be answered.",
        (),
    ),
    Tally.CLOCK_JUMPS: ("tokd_clock_jumps", "Steps of the clock, or sleeps of the machine.", ()),
    Tally.HINTS: ("tokd_webhooks", "Webhooks, by what they led to.", ("outcome",)),
}
_LOOKS = {
    Look.WAL_BYTES: ("tokd_db_wal_bytes", "Size of the database's write-ahead log."),
    Look.SAFE_MODE: ("tokd_safe_mode", "1: tokd does nothing until a person has looked."),
    Look.BROKER: ("tokd_broker_connected", "1: the broker is connected. Not there without one."),
    Look.DISK_FREE: ("tokd_disk_free_bytes", "Room where the ledger is kept."),
}
_SUCCESSES = tuple(
    f"dev.tokd.{kind.value}" for kind in (EventType.POST_PUBLISHED, EventType.POST_SENT_TO_INBOX)
)


class Metrics:
    """A registry of its own; what the daemon knows is put in when somebody asks."""

    def __init__(self, version: str, figures: Figures) -> None:
        self._version = version
        self._figures = figures
        self._successes: dict[str, float] = {}
        self._lock = threading.Lock()
        self.knows_successes = False
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Histogram(
            "tokd_http_request_duration_seconds", "How long requests took, by endpoint and status.",
            ["endpoint", "outcome"], registry=registry, buckets=_SECONDS,
        )  # fmt: skip

    def observe(self, endpoint: str, status: int, seconds: float) -> None:
        """Note one request; status 0 is one that was given up."""
        self._requests.labels(endpoint, str(status or "none")).observe(seconds)

    def note(self, payloads: Sequence[str]) -> None:
        """Take events; called in the bus thread right after the commit."""
        for payload in payloads:
            if not any(kind in payload for kind in _SUCCESSES):  # spares the reading of nearly all of them
                continue
            event = json.loads(payload)
            if event["type"] in _SUCCESSES:
                self._take_success(
                    event["data"]["account"], datetime.fromisoformat(event["time"]).timestamp()
                )

    def page(self, standing: Standing, loops: Mapping[str, float]) -> bytes:
        """Return the page, with these numbers."""
        for account, moment in standing.last_success.items():
            self._take_success(account, moment)
        self.knows_successes = True
        shown = CollectorRegistry()
        shown.register(_Page([*self._now(standing, loops), *self._counted()]))
        return generate_latest(shown) + generate_latest(self._registry)

    def _take_success(self, account: str, moment: float) -> None:
        with self._lock:  # from the bus thread, and from whoever asks
            self._successes[account] = max(moment, self._successes.get(account, 0.0))

    def _now(self, standing: Standing, loops: Mapping[str, float]) -> Iterator[Metric]:
        build = GaugeMetricFamily("tokd_build_info", "The version that runs.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
        yield _gauges("tokd_posts", "Posts by state.", "state", standing.posts)
        yield _gauge(
            "tokd_posts_uncertain", "Posts that a person must look at.", standing.posts.get("uncertain", 0)
        )
        yield _gauge(
            "tokd_due_lag_seconds", "How long the oldest due post has not begun.", standing.due_lag_s
        )
        yield _gauge("tokd_inbox_open", "Commands that are not decided yet.", standing.inbox_open)
        yield _gauge("tokd_outbox_pending", "Messages the broker does not have yet.", standing.outbox_pending)
        yield _gauge(
            "tokd_outbox_oldest_seconds", "How long the first of them has waited.", standing.outbox_oldest_s
        )
        sessions = "Browser sessions that are not over, by state."
        yield _gauges("tokd_browser_sessions", sessions, "state", standing.sessions)
        yield _gauges("tokd_loop_age_seconds", "Seconds since a loop has last turned.", "loop", loops)
        expiry = "When an account's refresh token expires."
        yield _gauges("tokd_token_expiry_timestamp_seconds", expiry, "account", standing.token_expiry)
        if standing.last_backup is not None:
            told = "When the latest backup of the ledger was taken."
            yield _gauge("tokd_backup_last_success_timestamp_seconds", told, standing.last_backup)
        success = "When an account has last got a post out."
        yield _gauges("tokd_last_success_timestamp_seconds", success, "account", dict(self._successes))

    def _counted(self) -> Iterator[Metric]:
        for what, (name, told, labels) in _COUNTERS.items():
            counts = self._figures.counts(what)
            found = CounterMetricFamily(name, told, labels=labels)
            for key, value in counts.items() or [((), 0.0)] * (not labels):
                found.add_metric(key, value)
            yield found
        series = self._figures.series(Timing.COMMIT)
        commits = HistogramMetricFamily("tokd_db_commit_seconds", "How long durable commits took.")
        buckets = [(str(bound), count) for bound, count in zip(BOUNDS, series.within, strict=True)]
        commits.add_metric([], [*buckets, ("+Inf", series.total)], series.seconds)
        yield commits
        redacted = self._figures.look(Look.REDACTIONS)
        if redacted is not None:
            told = "Texts that a secret was taken out of."
            yield CounterMetricFamily("tokd_redactions", told, value=redacted)
        for look, (name, told) in _LOOKS.items():
            seen = self._figures.look(look)
            if seen is not None:
                yield _gauge(name, told, seen)


class _Page(Collector):
    """Numbers that are there already."""

    def __init__(self, found: Sequence[Metric]) -> None:
        self._found = found

    def collect(self) -> Sequence[Metric]:
        return self._found


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value=value)


def _gauges(name: str, told: str, label: str, values: Mapping[str, float]) -> Metric:
    found = GaugeMetricFamily(name, told, labels=[label])
    for key, value in values.items():
        found.add_metric([key], value)
    return found
