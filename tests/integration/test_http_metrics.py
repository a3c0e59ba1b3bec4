"""The numbers for Prometheus: their names, and that they are true."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.domain.errors import Code, Fault, PlatformError, Rejected
from daemon.domain.figures import Look, Tally
from daemon.domain.post import State
from daemon.domain.restored import BACKUP_FLAG
from daemon.domain.session import BrowserEnded, EndReason
from daemon.domain.times import iso
from tests.fakes.platform import After
from tests.fakes.values import NOW, a_post
from tests.integration.http_stage import Stage, staged

# Of reliability-security.md section 8; what tokd has no part for yet (a dead letter queue) is not among them.
NAMES = {
    "tokd_build_info", "tokd_posts", "tokd_post_transitions_total", "tokd_posts_uncertain", "tokd_due_lag_seconds",
    "tokd_init_calls_total", "tokd_upload_bytes_total", "tokd_http_request_duration_seconds", "tokd_inbox_open",
    "tokd_inbox_duplicates_total", "tokd_outbox_pending", "tokd_outbox_oldest_seconds", "tokd_db_commit_seconds",
    "tokd_backup_last_success_timestamp_seconds", "tokd_safe_mode", "tokd_broker_connected", "tokd_disk_free_bytes",
    "tokd_db_wal_bytes", "tokd_browser_sessions", "tokd_browser_launch_failures_total", "tokd_loop_age_seconds",
    "tokd_clock_jumps_total", "tokd_token_expiry_timestamp_seconds", "tokd_last_success_timestamp_seconds",
    "tokd_redactions_total", "tokd_webhooks_total", "tokd_mqtt_answers_left_out_total",
    "process_cpu_seconds_total", "process_resident_memory_bytes",
}  # fmt: skip


def families(text: str) -> set[str]:
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
    }


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as found:
        found.core.media.put("clip.mp4")
        found.core.figures.watch(Look.WAL_BYTES, lambda: 4152.0)
        found.core.figures.watch(Look.REDACTIONS, lambda: 3)
        for look in (Look.SAFE_MODE, Look.BROKER, Look.DISK_FREE):
            found.core.figures.watch(look, lambda: 1.0)
        found.core.write(lambda unit: unit.set_flag(BACKUP_FLAG, iso(NOW)))
        yield found


class Numbers(dict[tuple[Any, ...], float]):
    """Values by name and labels: `found["tokd_posts", "scheduled"]`; 0 where there is none."""

    def __missing__(self, key: tuple[Any, ...] | str) -> float:
        return self[(key,)] if isinstance(key, str) else 0.0


def numbers(stage: Stage) -> Numbers:
    text = stage.get("/metrics").raw.decode()
    return Numbers(
        ((sample.name, *sample.labels.values()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


def test_every_name_is_there_from_the_start(stage: Stage) -> None:
    assert families(stage.get("/metrics").raw.decode()) >= NAMES


def test_nothing_is_told_under_a_name_that_is_not_known(stage: Stage) -> None:
    found = families(stage.get("/metrics").raw.decode())

    assert {name for name in found if name.startswith("tokd_")} <= NAMES


def test_a_post_that_went_out_is_in_the_numbers(stage: Stage) -> None:
    core = stage.core
    core.scheduled(in_s=60)
    core.run_for(120)

    found = numbers(stage)

    assert found["tokd_posts", "published"] == 1
    assert found["tokd_init_calls_total", "ok"] == 1
    assert found["tokd_upload_bytes_total"] == 30
    assert found["tokd_due_lag_seconds"] == found["tokd_posts_uncertain"] == found["tokd_inbox_open"] == 0
    steps = (
        "scheduled",
        "claimed",
        "validating",
        "initialised",
        "uploading",
        "committing",
        "processing",
        "published",
    )
    moves = {key[1:]: value for key, value in found.items() if key[0] == "tokd_post_transitions_total"}
    assert moves == dict.fromkeys(pairwise(steps), 1)
    finished_at = core.posts()[0].finished_at
    assert finished_at is not None
    assert found["tokd_last_success_timestamp_seconds", "ada"] == finished_at.timestamp()
    assert found["tokd_db_commit_seconds_count"] > 5
    assert found["tokd_db_commit_seconds_bucket", "+Inf"] == found["tokd_db_commit_seconds_count"]


def test_a_success_from_before_the_start_is_told_too(stage: Stage) -> None:
    at = NOW - timedelta(days=1)
    stage.core.write(lambda unit: unit.add_post(a_post(state=State.PUBLISHED, finished_at=at, wake_at=None)))

    assert numbers(stage)["tokd_last_success_timestamp_seconds", "ada"] == at.timestamp()


def test_a_success_after_the_first_look_is_told_too(stage: Stage) -> None:
    assert numbers(stage)["tokd_last_success_timestamp_seconds", "ada"] == 0
    stage.core.scheduled(in_s=0)
    stage.core.run_for(60)

    assert numbers(stage)["tokd_last_success_timestamp_seconds", "ada"] > 0


def test_init_calls_are_counted_by_what_came_of_them(stage: Stage) -> None:
    lost = PlatformError(Fault.TRANSIENT, "connect_failed", "no connection")
    stage.core.platform.next("init", lost, After(PlatformError(Fault.UNKNOWN_OUTCOME, "no_answer", "sent")))
    stage.core.scheduled(in_s=0)
    stage.core.run_for(600)

    found = numbers(stage)

    calls = {key[1]: value for key, value in found.items() if key[0] == "tokd_init_calls_total"}
    assert calls == {"transient": 1, "unknown_outcome": 1, "ok": 1}
    assert found["tokd_post_transitions_total", "retry_wait", "claimed"] == 2


def test_a_post_that_is_due_and_cannot_begin_lags(stage: Stage) -> None:
    stage.core.write(lambda unit: unit.add_post(a_post(account="nobody", due_at=stage.core.clock.now())))
    stage.core.clock.advance(7)

    assert numbers(stage)["tokd_due_lag_seconds"] == 7


def test_an_uncertain_post_is_told_by_itself(stage: Stage) -> None:
    stage.core.write(lambda unit: unit.add_post(a_post(state=State.UNCERTAIN, wake_at=None)))

    assert numbers(stage)["tokd_posts_uncertain"] == 1


def test_a_command_that_came_again_is_counted(stage: Stage) -> None:
    for _ in range(3):
        stage.core.schedule(id="c-same", at="2026-12-24T18:00:00Z")

    assert numbers(stage)["tokd_inbox_duplicates_total"] == 2


@pytest.mark.parametrize(
    ("code", "count"), [(Code.NO_BROWSER, 1), (Code.DRIVER_MISMATCH, 1), (Code.USER_DATA_LOCKED, 0)]
)
def test_a_browser_that_does_not_start_is_counted(stage: Stage, code: Code, count: int) -> None:
    stage.core.browser.refusal = Rejected(code, "why, and what to do")
    stage.post("/tiktok/session")

    assert numbers(stage)["tokd_browser_launch_failures_total"] == count


def test_a_session_that_ran_is_no_launch_failure(stage: Stage) -> None:
    stage.post("/tiktok/session")
    stage.core.browser.opened[0].tell(BrowserEnded(reason=EndReason.CRASHED))
    stage.core.settle()

    assert numbers(stage)["tokd_browser_launch_failures_total"] == 0


def test_what_is_looked_at_stands_there_as_it_is(stage: Stage) -> None:
    stage.core.figures.count(Tally.CLOCK_JUMPS)

    found = numbers(stage)

    assert found["tokd_db_wal_bytes"] == 4152
    assert found["tokd_redactions_total"] == 3
    assert found["tokd_clock_jumps_total"] == 1


def test_no_number_names_a_post_or_holds_a_token(stage: Stage) -> None:
    post = stage.core.scheduled(in_s=0)
    stage.core.run_for(60)

    text = stage.get("/metrics").raw.decode()

    assert post not in text
    assert not any(word in text for word in ("access-", "refresh-0", "v_pub_", "clip.mp4"))
