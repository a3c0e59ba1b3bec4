"""What the events of a session say to a person."""

from typing import Any

import pytest

from daemon.cli.narration import end_of, is_good_end, login_in_short, login_of, sentence_of, style_of
from daemon.cli.output import as_size
from daemon.cli.times import read_duration
from daemon.cli.watching import line_of
from daemon.domain.events import EventType
from daemon.domain.login import Doubt
from daemon.domain.session import EndReason

ENDS_AT = "2026-01-01T10:05:10.000Z"


def event(kind: str, /, **data: Any) -> dict[str, Any]:
    return {"type": f"dev.tokd.session.{kind}", "data": data}


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (event("requested", kind="tiktok", profile="shop"), "cloning profile shop, starting a browser …"),
        (event("requested", kind="login", profile="shop"), "opening profile shop itself …"),
        (event("started", browser="156.0", sandbox=True, headless=False), "browser 156.0 runs (sandbox on)"),
        (
            event("started", browser="156.0", sandbox=False, headless=True, warnings=["cloned while in use"]),
            "browser 156.0 runs (sandbox off), without a window; cloned while in use",
        ),
        (event("login_state", state="logged_out", evidence=["a", "b"], ms=2050), "logged out (a; b), 2.0 s"),
        (event("opened", ends_at=ENDS_AT), f"open until {ENDS_AT}"),
        (event("extended", ends_at=ENDS_AT), f"now open until {ENDS_AT}"),
        (
            event("ending_soon", session="0a", seconds=60, ends_at=ENDS_AT),
            f"closes in 60 s, at {ENDS_AT}; `tokd session extend 0a 5m` keeps it open",
        ),
        (event("ended", reason="timeout", seconds=300.4), "ended (timeout): its time was over; after 300 s"),
    ],
)
def test_an_event_of_a_session_becomes_a_sentence(found: dict[str, Any], sentence: str) -> None:
    assert sentence_of(found, clock=str) == sentence


def test_every_event_of_a_session_has_a_sentence() -> None:
    kinds = [kind.value.partition(".")[2] for kind in EventType if kind.value.startswith("session.")]

    assert [
        kind for kind in kinds if not sentence_of(event(kind, ends_at=ENDS_AT, state="logged_in"), clock=str)
    ] == []


def test_an_event_of_a_post_has_none() -> None:
    assert sentence_of({"type": "dev.tokd.post.started", "data": {}}) is None


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_end_is_said_in_words(reason: EndReason) -> None:
    assert end_of({"reason": reason.value}).partition(": ")[2] not in {"", reason.value}


@pytest.mark.parametrize("doubt", list(Doubt))
def test_every_doubt_is_said_in_words(doubt: Doubt) -> None:
    found = login_of({"state": "uncertain", "reason": doubt.value})

    assert found.removeprefix("login uncertain: ") not in {"", doubt.value}


def test_an_end_with_an_error_tells_the_error() -> None:
    error = {"code": "no_display", "message": "there is no screen"}

    assert end_of({"reason": "failed", "error": error}) == "ended (failed): there is no screen"


def test_an_end_tells_what_became_of_the_clone() -> None:
    found = end_of({"reason": "closed_by_command", "promoted_to": "shop", "backup": "/b/shop-1"})

    assert found.endswith("it is profile shop now, the old one is /b/shop-1")


def test_an_end_tells_what_could_not_be_done() -> None:
    told = {"promotion_error": "it has changed", "kept_clone": "/b/shop-clone-1", "left_behind": True}

    assert end_of({"reason": "timeout", **told}).endswith(
        "the profile was not replaced: it has changed; its clone is kept in /b/shop-clone-1; "
        "some of its files could not be removed yet"
    )


@pytest.mark.parametrize(
    ("reason", "is_good"),
    [("closed_by_user", True), ("timeout", True), ("crashed", False), ("shutdown", False)],
)
def test_only_a_wanted_end_is_good(reason: str, is_good: bool) -> None:
    assert is_good_end({"reason": reason}) is is_good


@pytest.mark.parametrize(
    ("found", "style"),
    [
        (event("login_state", state="logged_in"), "green"),
        (event("login_state", state="logged_out"), "red"),
        (event("login_state", state="uncertain"), "yellow"),
        (event("ended", reason="crashed"), "red"),
        (event("ended", reason="timeout"), ""),
        (event("ended", reason="timeout", left_behind=True), "red"),
        (event("requested"), ""),
    ],
)
def test_good_and_bad_have_their_colours(found: dict[str, Any], style: str) -> None:
    assert style_of(found) == style


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        ({"state": "logged_in", "username": "ada"}, "logged in as ada"),
        ({"state": "uncertain", "reason": "challenge"}, "uncertain: challenge"),
        ({"state": "logged_out"}, "logged out"),
        ({}, ""),
    ],
)
def test_a_login_is_short_in_a_table(verdict: dict[str, Any], text: str) -> None:
    assert login_in_short(verdict) == text


def test_a_watched_session_is_one_line_in_utc() -> None:
    found = event("opened", profile="shop", ends_at=ENDS_AT) | {
        "sequence": "00000007", "time": "2026-01-01T10:00:10.000Z", "subject": "session/0a",
    }  # fmt: skip

    assert line_of(found) == (
        f"00000007  2026-01-01T10:00:10.000Z  session.opened  session/0a  profile shop: open until {ENDS_AT}"
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), (" 2d ", 172800), ("0", 0)]
)
def test_a_span_of_time_becomes_seconds(text: str, seconds: int) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5", "+5m", "5 m", "1.5h", "5y", "soon", "9999999999", "\uff15"])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="span of time"):
        read_duration(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (217 * 10**6, "217.0 MB"), (10**10, "10.0 GB")],
)
def test_a_size_is_read_by_people(count: int, text: str) -> None:
    assert as_size(count) == text
