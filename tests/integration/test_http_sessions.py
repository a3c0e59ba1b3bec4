"""Sessions over HTTP: every row of the contract's table, over a real socket."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.errors import Code, Problem, Rejected
from daemon.domain.login import Doubt, Login, Verdict
from daemon.domain.policy import SessionPolicy
from daemon.domain.session import BrowserEnded, EndReason, HandedOver, LoginSeen, SessionKind
from tests.core import POLICY
from tests.fakes.browser import CHALLENGED, LOGGED_OUT, STARTED
from tests.integration.http_stage import Answer, Stage, staged
from tests.waiting import wait_until

FIRST = "0000000000000001"
UNKNOWN = "ffffffffffffffff"
NO_IDEA = Verdict(login=Login.UNCERTAIN, method="none", evidence=(), reason=Doubt.NO_EVIDENCE, ms=8000)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    policy = replace(POLICY, sessions=SessionPolicy(max_concurrent=3))
    with staged(tmp_path, policy=policy) as found:
        yield found


@pytest.fixture
def later() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def opened(stage: Stage) -> str:
    return stage.post("/tiktok/session").body["session_id"]


def fails_with(stage: Stage, code: str) -> None:
    stage.core.browser.script = [
        STARTED, BrowserEnded(reason=EndReason.FAILED, error=Problem(code, f"it is {code}")),
    ]  # fmt: skip


# -- POST /tiktok/session ------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [None, b"", b"{}", b" {} "])
def test_a_session_that_is_logged_in_is_open(stage: Stage, raw: bytes | None) -> None:
    answer = stage.post("/tiktok/session", raw=raw)

    assert (answer.status, answer.headers["location"]) == (200, f"/tiktok/session/{FIRST}")
    assert set(answer.body) == {"status", "message", "session_id"}
    assert (answer.body["status"], answer.body["session_id"]) == ("success", FIRST)


def test_an_answer_is_json(stage: Stage) -> None:
    assert stage.post("/tiktok/session").headers["content-type"] == "application/json"


def test_the_window_stays_open_after_the_answer(stage: Stage) -> None:
    session = opened(stage)

    assert stage.get(f"/tiktok/session/{session}").body["session"]["state"] == "open"


def test_a_session_that_is_logged_out_is_refused_with_its_evidence(stage: Stage) -> None:
    stage.core.browser.script = [STARTED, LoginSeen(LOGGED_OUT), BrowserEnded(reason=EndReason.LOGGED_OUT)]

    answer = stage.post("/tiktok/session")

    assert (answer.status, answer.body["status"]) == (409, "error")
    details = answer.body["error_details"]
    assert (details["code"], details["method"], details["timeout"]) == ("NOT_LOGGED_IN", "info", 8)
    assert details["details"]


@pytest.mark.parametrize(("verdict", "code"), [(NO_IDEA, "LOGIN_UNCERTAIN"), (CHALLENGED, "CHALLENGE")])
def test_a_session_that_nobody_can_judge_is_refused(stage: Stage, verdict: Verdict, code: str) -> None:
    stage.core.browser.script = [STARTED, LoginSeen(verdict), BrowserEnded(reason=EndReason.UNCERTAIN)]

    answer = stage.post("/tiktok/session")

    assert (answer.status, answer.code) == (409, code)


def test_a_challenge_whose_window_stays_is_no_login(stage: Stage) -> None:
    stage.core.browser.script = [STARTED, LoginSeen(CHALLENGED), HandedOver(300)]

    answer = stage.post("/tiktok/session")

    assert (answer.status, answer.code) == (409, "CHALLENGE")
    assert stage.get(f"/tiktok/session/{answer.body['session_id']}").body["session"]["state"] == "open"


def test_a_profile_that_is_in_use_is_locked(stage: Stage) -> None:
    stage.core.profiles.refusal = Rejected(
        Code.USER_DATA_LOCKED, "chromium, pid 4711, uses it", retryable=True
    )

    answer = stage.post("/tiktok/session")

    assert (answer.status, answer.code) == (423, "USER_DATA_LOCKED")


def test_one_session_too_many_is_told_when_to_come_back(stage: Stage) -> None:
    for _ in range(3):
        opened(stage)

    answer = stage.post("/tiktok/session")

    assert (answer.status, answer.code) == (503, "SESSION_LIMIT")
    assert int(answer.headers["retry-after"]) > 0


def test_a_session_that_is_not_open_in_time_is_refused_then_and_later(stage: Stage) -> None:
    fails_with(stage, "session_timeout")

    answer = stage.post("/tiktok/session")

    assert (answer.status, answer.code) == (504, "SESSION_TIMEOUT")
    later = stage.get(f"/tiktok/session/{answer.body['session_id']}")
    assert (later.status, later.code) == (504, "SESSION_TIMEOUT")


@pytest.mark.parametrize(
    "code",
    ["no_browser", "no_display", "driver_mismatch", "browser_failed", "keyring_unreachable", "disk_full", "internal"],
)  # fmt: skip
def test_anything_else_is_a_fault_with_its_own_code(stage: Stage, code: str) -> None:
    fails_with(stage, code)

    answer = stage.post("/tiktok/session")

    assert (answer.status, answer.code, answer.body["status"]) == (500, code.upper(), "error")


def test_a_profile_that_does_not_exist_is_a_fault_of_the_configuration(stage: Stage) -> None:
    stage.core.profiles.names.clear()

    answer = stage.post("/tiktok/session")

    assert (answer.status, answer.code) == (500, "NO_SUCH_PROFILE")


def test_a_browser_that_dies_before_its_window_is_open_is_a_fault(stage: Stage) -> None:
    stage.core.browser.script = [STARTED, BrowserEnded(reason=EndReason.CRASHED)]

    assert (answer := stage.post("/tiktok/session")).status == 500
    assert answer.code == "BROWSER_FAILED"


@pytest.mark.parametrize("body", [{"url": "https://a.example"}, {"timeout_seconds": 5}, {"": None}])
def test_any_field_is_refused(stage: Stage, body: dict[str, Any]) -> None:
    answer = stage.post("/tiktok/session", body)

    assert (answer.status, answer.code) == (422, "UNKNOWN_FIELD")
    assert stage.core.browser.opened == []


@pytest.mark.parametrize(
    "query", ["wait=never", "wait=", "weit=closed", "wait=closed&wait=closed", "wait=%00"]
)
def test_any_other_query_is_refused(stage: Stage, query: str) -> None:
    assert stage.post(f"/tiktok/session?{query}").status == 422


def test_the_same_key_opens_one_session(stage: Stage) -> None:
    answers = [stage.post("/tiktok/session", Idempotency_Key="k-1").body for _ in range(2)]

    assert answers[0] == answers[1]
    assert len(stage.core.browser.opened) == 1


def test_the_same_key_for_another_order_is_a_conflict(stage: Stage) -> None:
    stage.post("/browse", {"url": "https://a.example"}, Idempotency_Key="k-1")

    answer = stage.post("/browse", {"url": "https://b.example"}, Idempotency_Key="k-1")

    assert (answer.status, answer.code) == (409, "ID_CONFLICT")


def test_a_key_that_is_none_is_refused(stage: Stage) -> None:
    answer = stage.post("/tiktok/session", Idempotency_Key="a b")

    assert (answer.status, answer.body["error_details"]["field"]) == (422, "Idempotency-Key")


def test_a_session_that_nobody_decides_is_given_up_in_the_end(tmp_path: Path) -> None:
    with staged(tmp_path, open_within_s=0.2) as stage:
        stage.core.browser.gate.clear()

        answer = stage.post("/tiktok/session")

        stage.core.browser.gate.set()
        assert (answer.status, answer.code) == (504, "SESSION_TIMEOUT")


# -- wait=closed ---------------------------------------------------------------------------------------------


def waiting(stage: Stage, later: ThreadPoolExecutor) -> "Future[Answer]":
    stage.token()
    before = len(stage.core.browser.opened)
    future = later.submit(stage.post, "/tiktok/session?wait=closed")
    wait_until(lambda: len(stage.core.browser.opened) > before, what="the browser")
    return future


@pytest.mark.parametrize(
    ("reason", "word"), [(EndReason.CLOSED_BY_USER, "person"), (EndReason.TIMEOUT, "time"),
                         (EndReason.CLOSED_BY_COMMAND, "command")],
)  # fmt: skip
def test_an_answer_may_come_when_the_window_is_closed(
    stage: Stage, later: ThreadPoolExecutor, reason: EndReason, word: str
) -> None:
    future = waiting(stage, later)
    wait_until(lambda: stage.core.events("session.opened"), what="the window")

    stage.core.browser.opened[0].tell(BrowserEnded(reason=reason, exit_status=0, is_clean=True))

    answer = future.result(10)
    assert (answer.status, answer.body["session_id"]) == (200, FIRST)
    assert word in answer.body["message"]


def test_no_answer_comes_while_the_window_is_open(stage: Stage, later: ThreadPoolExecutor) -> None:
    future = waiting(stage, later)

    wait_until(lambda: stage.get("/tiktok/sessions").body["sessions"][0]["state"] == "open")
    assert not future.done()
    stage.core.browser.opened[0].close(EndReason.CLOSED_BY_USER)
    assert future.result(10).status == 200


def test_a_window_that_is_closed_at_once_is_told_too(stage: Stage) -> None:
    stage.core.browser.script = [
        *stage.core.browser.script, BrowserEnded(reason=EndReason.CLOSED_BY_USER, exit_status=0, is_clean=True),
    ]  # fmt: skip

    assert stage.post("/tiktok/session?wait=closed").status == 200


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (EndReason.CRASHED, 500, "BROWSER_FAILED"),
        (EndReason.DISPLAY_LOST, 500, "NO_DISPLAY"),
        (EndReason.SHUTDOWN, 503, "SHUTTING_DOWN"),
    ],
)
def test_a_window_that_was_lost_is_a_fault(
    stage: Stage, later: ThreadPoolExecutor, reason: EndReason, status: int, code: str
) -> None:
    future = waiting(stage, later)
    wait_until(lambda: stage.core.events("session.opened"), what="the window")

    stage.core.browser.opened[0].tell(BrowserEnded(reason=reason))

    assert (future.result(10).status, future.result(10).code) == (status, code)


def test_who_waits_for_a_window_holds_up_nobody(stage: Stage, later: ThreadPoolExecutor) -> None:
    futures = [waiting(stage, later) for _ in range(3)]

    assert stage.get("/api/v1/posts").status == 200
    for browser in stage.core.browser.opened:
        browser.close(EndReason.CLOSED_BY_USER)
    assert [future.result(10).status for future in futures] == [200, 200, 200]


def test_who_waits_is_answered_when_the_adapter_stops(stage: Stage, later: ThreadPoolExecutor) -> None:
    future = waiting(stage, later)
    wait_until(lambda: stage.core.events("session.opened"), what="the window")

    assert stage.server.stop()

    assert (future.result(10).status, future.result(10).code) == (503, "SHUTTING_DOWN")


# -- the others ----------------------------------------------------------------------------------------------


def test_the_open_sessions_are_listed(stage: Stage) -> None:
    session = opened(stage)

    body = stage.get("/tiktok/sessions").body

    assert (body["status"], [found["session"] for found in body["sessions"]]) == ("success", [session])


def test_the_sessions_that_were_open_are_listed_on_request(stage: Stage) -> None:
    session = opened(stage)
    stage.core.browser.opened[0].close(EndReason.CLOSED_BY_USER)
    wait_until(lambda: stage.core.events("session.ended"), what="its end")

    assert stage.get("/tiktok/sessions").body["sessions"] == []
    assert [found["session"] for found in stage.get("/tiktok/sessions?ended=true").body["sessions"]] == [
        session
    ]


@pytest.mark.parametrize("session", [UNKNOWN, "x", "..", FIRST.upper() + "F", "%00"])
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/extend")])
def test_an_unknown_session_is_not_found(stage: Stage, session: str, method: str, rest: str) -> None:
    body = {"seconds": 60} if rest else None

    answer = stage.call(method, f"/tiktok/session/{session}{rest}", body)

    assert (answer.status, answer.code) == (404, "NO_SUCH_SESSION")


def test_a_session_is_closed(stage: Stage) -> None:
    session = opened(stage)

    answer = stage.call("DELETE", f"/tiktok/session/{session}")

    assert (answer.status, answer.body["status"], answer.body["session_id"]) == (200, "success", session)
    wait_until(lambda: stage.core.events("session.ended"), what="its end")


def test_closing_a_session_that_is_over_is_no_mistake(stage: Stage) -> None:
    session = opened(stage)
    stage.call("DELETE", f"/tiktok/session/{session}")
    wait_until(lambda: stage.core.events("session.ended"), what="its end")

    assert stage.call("DELETE", f"/tiktok/session/{session}").status == 200


def test_a_session_is_extended(stage: Stage) -> None:
    session = opened(stage)

    answer = stage.post(f"/tiktok/session/{session}/extend", {"seconds": 900})

    assert answer.status == 200
    assert answer.body["ends_at"] == stage.get(f"/tiktok/session/{session}").body["session"]["ends_at"]


@pytest.mark.parametrize(
    "body", [{}, {"seconds": 0}, {"seconds": 3601}, {"seconds": "x"}, {"seconds": 5, "a": 1}]
)
def test_an_extension_of_no_use_is_refused(stage: Stage, body: dict[str, Any]) -> None:
    assert stage.post(f"/tiktok/session/{opened(stage)}/extend", body).status == 422


def test_a_session_that_is_over_cannot_be_extended(stage: Stage) -> None:
    session = opened(stage)
    stage.core.browser.opened[0].close(EndReason.CLOSED_BY_USER)
    wait_until(lambda: stage.core.events("session.ended"), what="its end")

    answer = stage.post(f"/tiktok/session/{session}/extend", {"seconds": 60})

    assert (answer.status, answer.code) == (409, "SESSION_BUSY")


def test_any_page_is_opened_without_the_login_gate(stage: Stage) -> None:
    stage.core.profiles.names.add("shop")

    answer = stage.post(
        "/browse", {"url": "https://www.tiktok.com/", "timeout_seconds": 60, "profile": "shop"}
    )

    order = stage.core.profiles.prepared[0]
    assert answer.status == 200
    assert (order.url, order.profile, order.timeout_s, order.require_login) == (
        "https://www.tiktok.com/", "shop", 60, False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {}, {"url": "ftp://a.example"}, {"url": "javascript:alert(1)"}, {"url": "https://u:p@a.example"},
        {"url": "https://a.example", "timeout_seconds": 0}, {"url": "https://a.example", "timeout_seconds": 3601},
        {"url": "https://a.example", "headless": True}, {"url": "https://a.example", "profile": "../x"},
    ],
)  # fmt: skip
def test_a_page_that_cannot_be_opened_is_refused(stage: Stage, body: dict[str, Any]) -> None:
    assert stage.post("/browse", body).status == 422


def test_a_profile_of_another_name_is_not_found(stage: Stage) -> None:
    answer = stage.post("/browse", {"url": "https://a.example", "profile": "nobody"})

    assert (answer.status, answer.code) == (404, "NO_SUCH_PROFILE")


def test_a_login_opens_the_profile_itself(stage: Stage) -> None:
    answer = stage.post("/profiles/shop/login")

    order = stage.core.profiles.prepared[0]
    assert (answer.status, order.kind, order.profile) == (200, SessionKind.LOGIN, "shop")


def test_a_login_of_a_profile_in_use_is_locked(stage: Stage) -> None:
    stage.core.profiles.refusal = Rejected(Code.USER_DATA_LOCKED, "session 1 uses it", retryable=True)

    assert (answer := stage.post("/profiles/master/login")).status == 423
    assert answer.code == "USER_DATA_LOCKED"


def test_a_profile_whose_name_is_none_is_refused(stage: Stage) -> None:
    assert stage.post("/profiles/a%20b/login").status == 422


def test_a_session_of_another_user_is_forbidden(stage: Stage) -> None:
    session = opened(stage)

    answer = stage.get(f"/tiktok/session/{session}", user="bob")

    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert stage.call("DELETE", f"/tiktok/session/{session}", user="bob").status == 403
    assert stage.get("/tiktok/sessions", user="bob").body["sessions"] == []
