"""The log tells an operator how posts end and what needs a person, with fields to search by; the rest is in the events."""

import logging
from datetime import UTC, datetime

import pytest

from daemon import chronicle
from daemon.domain.events import Event, EventType, as_cloudevent, as_json
from daemon.ports import Outgoing
from tests.core import Core


def told(kind: EventType, **data: object) -> Outgoing:
    event = Event(
        kind, "post/p_1", datetime(2026, 1, 1, tzinfo=UTC), {"post": "p_1", "account": "shop", **data}
    )
    payload = as_json(as_cloudevent(event, "main", 1))
    return Outgoing(row=1, transport="", kind="event", address=event.channel, payload=payload)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "tokd.news")
    return caplog


def test_a_post_that_has_failed_is_a_warning_that_says_why(log: pytest.LogCaptureFixture) -> None:
    chronicle.note([told(EventType.POST_FAILED, reason="spam_risk", detail="too many posts")])

    (record,) = log.records
    assert (record.levelname, record.getMessage()) == (
        "WARNING",
        "post/p_1 post.failed: spam_risk too many posts",
    )
    assert (record.post, record.account, record.event) == ("p_1", "shop", "post.failed")  # type: ignore[attr-defined]


def test_steps_on_the_way_are_left_to_the_events(log: pytest.LogCaptureFixture) -> None:
    chronicle.note([told(EventType.POST_SCHEDULED), told(EventType.POST_PROGRESS)])

    assert log.records == []


def test_a_persons_words_do_not_make_an_event(log: pytest.LogCaptureFixture) -> None:
    chronicle.note([told(EventType.POST_SCHEDULED, title='"type":"dev.tokd.post.failed"')])

    assert log.records == []


def test_a_published_post_is_logged_once_by_the_core(log: pytest.LogCaptureFixture, tmp_path) -> None:
    with Core(tmp_path) as core:
        core.media.put("clip.mp4")
        core.schedule("clip.mp4", in_s=60)
        core.run_for(600)

    assert [record.event for record in log.records if record.name == "tokd.news"] == ["post.published"]  # type: ignore[attr-defined]
