"""Sessions through the real bus, ledger, handlers and workers, with a browser and profiles in memory."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.errors import Code, Problem, Rejected
from daemon.domain.ids import AccountName, ProfileName, SessionId
from daemon.domain.login import Doubt, Login, Verdict
from daemon.domain.policy import SessionPolicy
from daemon.domain.session import (
    BrowserEnded,
    Closing,
    EndingSoon,
    EndReason,
    HandedOver,
    LoginSeen,
    Pictured,
    SessionKind,
)  # fmt: skip
from tests.core import POLICY, Call, Core
from tests.fakes.browser import CHALLENGED, LOGGED_IN, LOGGED_OUT, STARTED
from tests.waiting import wait_until

FIRST = "0000000000000001"


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path, has_broker=True) as found:
        yield found


def settle(core: Core, count: int = 1) -> None:
    """Wait until so many sessions have ended and are cleaned up."""
    wait_until(lambda: len(core.events("session.ended")) >= count, 10, what="the end of the session")
    core.settle()


def opened(core: Core, **args: Any) -> str:
    return core.do("session/open", args)["session"]


def ended(core: Core) -> dict[str, Any]:
    settle(core)
    return core.events("session.ended")[-1]["data"]


def state_of(core: Core, path: str) -> dict[str, Any] | None:
    core.settle()
    payloads = [message.payload for message in core.publisher.offered if message.address == path]
    return json.loads(payloads[-1]) if payloads and payloads[-1] else None


# -- a whole session -----------------------------------------------------------------------------------------


def test_an_open_session_is_told_step_by_step(core: Core) -> None:
    session = opened(core)
    core.browser.opened[0].tell(BrowserEnded(reason=EndReason.CLOSED_BY_USER, exit_status=0))
    settle(core)

    assert core.event_types(f"session/{session}") == [
        "session.requested",
        "session.started",
        "session.login_state",
        "session.opened",
        "session.ended",
    ]


def test_the_reply_comes_when_the_window_is_handed_over(core: Core) -> None:
    call = core.submit("session/open")
    reply = call.final()

    assert call.first()["status"] == "accepted"
    assert reply["result"].items() >= {"session": FIRST, "state": "open", "profile": "master"}.items()
    assert reply["result"]["login"]["state"] == "logged_in"
    assert reply["result"]["ends_at"] > reply["result"]["opened_at"]


def test_the_login_event_names_its_evidence(core: Core) -> None:
    opened(core)

    told = core.events("session.login_state")[0]["data"]
    assert (told["state"], told["method"], told["ms"]) == ("logged_in", "info", 170)
    assert told["evidence"] == ["account info call: 200, a user"]


def test_a_closed_window_ends_the_session(core: Core) -> None:
    opened(core)
    core.browser.opened[0].tell(BrowserEnded(reason=EndReason.CLOSED_BY_USER, exit_status=0))

    told = ended(core)
    assert (told["reason"], told["exit_status"], told["login"]) == ("closed_by_user", 0, "logged_in")


def test_the_end_is_told_after_everything_is_gone(core: Core) -> None:
    session = opened(core)
    core.browser.opened[0].tell(BrowserEnded(reason=EndReason.CRASHED, exit_status=-9))
    settle(core)

    assert core.browser.ended == core.profiles.released == [session]


def test_what_could_not_be_removed_is_told(core: Core) -> None:
    core.profiles.can_remove = False
    opened(core)
    core.do("session/close")

    assert ended(core)["left_behind"] is True


def test_a_session_closes_by_command(core: Core) -> None:
    session = opened(core)

    assert core.do("session/close", {"session": session}) == {"session": session, "state": "closing"}
    assert ended(core)["reason"] == "closed_by_command"


def test_closing_what_is_over_is_no_mistake(core: Core) -> None:
    session = opened(core)
    core.do("session/close")
    settle(core)

    again = core.do("session/close", {"session": session})
    assert again == {"session": session, "state": "ended", "reason": "closed_by_command"}


def test_all_sessions_close_at_once(core: Core) -> None:
    names = {opened(core), opened(core)}

    assert set(core.do("session/close", {"all": True})["closing"]) == names
    settle(core, 2)


def test_a_close_before_the_browser_has_started_ends_the_session(core: Core) -> None:
    core.browser.gate.clear()
    call = core.submit("session/open")
    core.do("session/close", {"session": FIRST})
    core.settle()
    core.browser.gate.set()

    assert call.final()["error"]["code"] == "session_busy"
    assert ended(core)["reason"] == "closed_by_command"
    assert core.browser.opened == []


def test_a_close_stops_the_cloning(core: Core) -> None:
    core.profiles.is_slow = True
    call = core.submit("session/open")
    wait_until(lambda: _state(core) == "cloning", 10, what="the cloning")
    core.do("session/close")

    assert call.final()["error"]["code"] == "session_busy"
    assert ended(core)["reason"] == "closed_by_command"


def test_a_clone_that_takes_too_long_is_a_timeout(core: Core) -> None:
    core.profiles.is_slow = True
    call = core.submit("session/open")
    wait_until(lambda: _state(core) == "cloning", 10, what="the cloning")
    core.clock.advance(31)

    assert call.final()["error"]["code"] == "session_timeout"


def _state(core: Core) -> str | None:
    found = core.do("session/list")["sessions"]
    return found[0]["state"] if found else None


def test_a_deadline_ends_the_session_after_a_warning(core: Core) -> None:
    opened(core, timeout_seconds=90)
    core.browser.opened[0].tell(
        EndingSoon(60), Closing(EndReason.TIMEOUT), BrowserEnded(reason=EndReason.TIMEOUT, exit_status=0)
    )
    settle(core)

    assert core.events("session.ending_soon")[0]["data"]["seconds"] == 60
    assert core.events("session.ended")[0]["data"]["reason"] == "timeout"


# -- not logged in -------------------------------------------------------------------------------------------


def test_a_logged_out_profile_fails_the_order(core: Core) -> None:
    core.browser.script = [
        STARTED, LoginSeen(LOGGED_OUT), Closing(EndReason.LOGGED_OUT),
        BrowserEnded(reason=EndReason.LOGGED_OUT, exit_status=0),
    ]  # fmt: skip
    reply = core.send("session/open")

    assert (reply["status"], reply["error"]["code"]) == ("failed", "not_logged_in")
    assert reply["error"]["login"]["evidence"] == ["account info call: session expired"]


def test_an_uncertain_login_is_no_logout(core: Core) -> None:
    doubt = Verdict(login=Login.UNCERTAIN, method="none", evidence=("page silent",), reason=Doubt.NO_EVIDENCE)
    core.browser.script = [STARTED, LoginSeen(doubt), BrowserEnded(reason=EndReason.UNCERTAIN)]
    error = core.refusal("session/open")

    assert (error["code"], error["login"]["reason"]) == ("login_uncertain", "no_evidence")


def test_a_challenge_without_a_window_is_named(core: Core) -> None:
    core.browser.script = [STARTED, LoginSeen(CHALLENGED), BrowserEnded(reason=EndReason.UNCERTAIN)]

    assert core.refusal("session/open", {"headless": True})["code"] == "challenge"


def test_a_browser_that_dies_early_fails_the_order(core: Core) -> None:
    core.browser.script = [STARTED, BrowserEnded(reason=EndReason.CRASHED, exit_status=-11)]
    reply = core.send("session/open")

    assert (reply["status"], reply["error"]["code"]) == ("failed", "browser_failed")


@pytest.mark.parametrize(
    "code",
    [Code.NO_DISPLAY, Code.NO_BROWSER, Code.DRIVER_MISMATCH],
)
def test_what_can_be_known_beforehand_is_refused_before_anything_is_copied(core: Core, code: Code) -> None:
    core.browser.refusal = Rejected(code, "why, and what to do")
    reply = core.send("session/open")

    assert (reply["status"], reply["error"]["code"]) == ("rejected", code.value)
    assert core.profiles.prepared == []
    assert ended(core)["reason"] == "failed"


@pytest.mark.parametrize(
    "code", [Code.USER_DATA_LOCKED, Code.KEYRING_UNREACHABLE, Code.DISK_FULL, Code.NO_SUCH_PROFILE]
)
def test_a_profile_that_cannot_be_cloned_is_refused(core: Core, code: Code) -> None:
    core.profiles.refusal = Rejected(code, "why, and what to do")
    reply = core.send("session/open")

    assert (reply["status"], reply["error"]["code"]) == ("rejected", code.value)
    assert core.browser.opened == []


def test_a_start_that_takes_too_long_has_its_own_code(core: Core) -> None:
    problem = Problem(Code.SESSION_TIMEOUT.value, "not open within 30 s")
    core.browser.script = [BrowserEnded(reason=EndReason.FAILED, error=problem)]

    assert core.refusal("session/open")["code"] == "session_timeout"


# -- which page, which kind ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://www.tiktok.com/upload", SessionKind.TIKTOK),
        ("https://tiktok.com", SessionKind.TIKTOK),
        ("https://example.org/", SessionKind.PLAIN),
        ("https://nottiktok.com/", SessionKind.PLAIN),
        ("https://tiktok.com.example.org/", SessionKind.PLAIN),
    ],
)
def test_the_address_decides_whether_a_login_is_read(core: Core, url: str, kind: SessionKind) -> None:
    opened(core, url=url)

    assert core.profiles.prepared[0].kind is kind


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "javascript:alert(1)", "data:text/html,x", "chrome://settings", "https://", "http://[::1",
        "tiktok.com", "https://user:word@example.org/", "https://exam ple.org/", "https://a.example/\tx", "ftp://a.example/",
        "http://evil.example\\.tiktok.com/", "https://www.tiktok.com\\@evil.example/", "https://tiktok.com\u3002evil.example/",
        "https://tik%74ok.com/", "https://www.tiktok.com/\u202egro", "https://www.tiktok.com/\u00a0", "https://b\u00fccher.example/",
    ],
)  # fmt: skip
def test_only_a_web_address_is_opened(core: Core, url: str) -> None:
    error = core.refusal("session/open", {"url": url})

    assert (error["code"], error["field"]) == ("bad_field", "args.url")


def test_a_login_can_only_be_required_of_tiktok(core: Core) -> None:
    error = core.refusal("session/open", {"url": "https://example.org/", "require_login": True})

    assert error["field"] == "args.require_login"


@pytest.mark.parametrize(
    "args",
    [{"timeout_seconds": 0}, {"timeout_seconds": 3601}, {"profile": "../x"}, {"profile": ""}, {"headless": "maybe"},
     {"session": FIRST}],
)  # fmt: skip
def test_an_unfit_argument_opens_nothing(core: Core, args: dict[str, Any]) -> None:
    assert core.refusal("session/open", args)["code"] in {"bad_field", "unknown_field"}
    assert core.events("session.requested") == []


def test_a_query_in_the_address_is_shown_to_nobody(core: Core) -> None:
    opened(core, url="https://example.org/page?token=hush#part")

    assert "hush" not in str(core.events()) + str(core.do("session/list"))


def test_write_mode_opens_the_profile_itself(tmp_path: Path) -> None:
    policy = replace(POLICY, sessions=SessionPolicy(write_mode=True))
    with Core(tmp_path, policy=policy) as core:
        core.browser.script = [STARTED, HandedOver(300)]
        opened(core)

        assert core.profiles.prepared[0].kind is SessionKind.LOGIN


# -- limits and names ----------------------------------------------------------------------------------------


def test_only_so_many_sessions_are_open_at_once(tmp_path: Path) -> None:
    policy = replace(POLICY, sessions=SessionPolicy(max_concurrent=2))
    with Core(tmp_path, policy=policy) as core:
        opened(core), opened(core)
        error = core.refusal("session/open")

        assert (error["code"], error["retryable"]) == ("session_limit", True)
        assert error["retry_after_s"] >= 1


def test_a_session_that_is_over_makes_room(tmp_path: Path) -> None:
    policy = replace(POLICY, sessions=SessionPolicy(max_concurrent=1))
    with Core(tmp_path, policy=policy) as core:
        opened(core)
        core.do("session/close")
        settle(core)

        assert opened(core) == "0000000000000002"


def test_a_session_need_not_be_named_where_it_is_the_only_one(core: Core) -> None:
    session = opened(core)

    assert core.do("session/extend", {"seconds": 600})["session"] == session


def test_one_of_several_must_be_named(core: Core) -> None:
    opened(core), opened(core)
    error = core.refusal("session/close")

    assert (error["code"], error["field"]) == ("bad_field", "args.session")
    assert FIRST in error["message"]


def test_an_unknown_session_is_named(core: Core) -> None:
    assert core.refusal("session/close", {"session": "f" * 16})["code"] == "no_such_session"


def test_nothing_to_close_is_said(core: Core) -> None:
    assert core.refusal("session/close")["code"] == "no_such_session"


def test_the_same_order_twice_opens_one_session(core: Core) -> None:
    first = core.send("session/open", id="same")
    again = core.send("session/open", id="same")

    assert again["replayed"] is True
    assert again["result"]["session"] == first["result"]["session"]
    assert len(core.browser.opened) == 1


def test_a_dry_run_opens_nothing(core: Core) -> None:
    assert core.do("session/open", dry_run=True)["dry_run"] is True
    assert core.browser.opened == []
    assert core.do("session/list")["sessions"] == []


# -- extend, check, picture ----------------------------------------------------------------------------------


def test_an_extension_moves_the_deadline(core: Core) -> None:
    session = opened(core)
    core.do("session/extend", {"session": session, "seconds": 900})
    core.settle()

    assert core.browser.opened[0].extended == [900]
    assert len(core.events("session.extended")) == 1


def test_an_extension_never_shortens(core: Core) -> None:
    session = opened(core)
    before = core.do("session/list")["sessions"][0]["ends_at"]

    assert core.do("session/extend", {"session": session, "seconds": 10})["ends_at"] == before
    assert core.browser.opened[0].extended == []


def test_no_session_lasts_for_ever(tmp_path: Path) -> None:
    policy = replace(POLICY, sessions=SessionPolicy(longest_s=400))
    with Core(tmp_path, policy=policy) as core:
        opened(core)

        assert core.refusal("session/extend", {"seconds": 401})["code"] == "too_late"


def test_a_check_reads_the_login_again(core: Core) -> None:
    session = opened(core)
    call = core.submit("session/check", {"session": session})
    asked = wait_until(lambda: core.browser.opened[0].asked, 10, what="the question")
    core.browser.opened[0].tell(LoginSeen(LOGGED_OUT, asked[0][1]))

    assert call.final()["result"]["login"]["state"] == "logged_out"
    assert len(core.events("session.login_state")) == 2


def test_a_picture_is_kept_and_its_place_told(core: Core) -> None:
    reply = _pictured(core)

    assert reply["result"]["path"] == f"pictures/{FIRST}.jpg"
    assert "image" not in reply["result"]
    assert core.pictures.kept == [b"jpeg"]


def test_a_picture_can_come_with_the_answer(core: Core) -> None:
    assert _pictured(core, inline=True)["result"]["image"] == "anBlZw=="


def _pictured(core: Core, **args: Any) -> dict[str, Any]:
    opened(core)
    call = core.submit("session/screenshot", args)
    asked = wait_until(lambda: core.browser.opened[0].asked, 10, what="the question")
    core.browser.opened[0].tell(Pictured(token=asked[0][1], image=b"jpeg"))
    return call.final()


def test_a_picture_that_cannot_be_stored_costs_the_picture_only(core: Core) -> None:
    core.pictures.error = OSError(28, "No space left on device")
    reply = _pictured(core)

    assert (reply["status"], reply["error"]["code"]) == ("failed", "disk_full")
    assert core.do("session/list")["sessions"][0]["state"] == "open"


def test_a_question_to_a_dying_session_is_answered(core: Core) -> None:
    core.browser.hangs = True
    opened(core)
    call = core.submit("session/check")
    wait_until(lambda: core.browser.opened[0].asked, 10, what="the question")
    core.browser.opened[0].tell(BrowserEnded(reason=EndReason.CRASHED, exit_status=-9))

    assert call.final()["error"]["code"] == "session_busy"


@pytest.mark.parametrize(
    "verb", ["session/check", "session/screenshot", "session/extend", "profiles/promote"]
)
def test_a_session_that_is_over_takes_no_order(core: Core, verb: str) -> None:
    session = opened(core)
    core.do("session/close")
    settle(core)
    args = {"session": session} | ({"seconds": 5} if verb == "session/extend" else {})

    assert core.refusal(verb, args)["code"] == "session_busy"


# -- profiles ------------------------------------------------------------------------------------------------


def test_a_login_opens_the_profile_itself_and_makes_it_where_it_is_new(core: Core) -> None:
    core.browser.script = [STARTED, HandedOver(1800)]
    found = core.do("profiles/login", {"profile": "shop"})

    assert (found["kind"], found["state"]) == ("login", "open")
    assert "shop" in core.profiles.names


@pytest.mark.parametrize("verb", ["session/check", "session/screenshot", "profiles/promote"])
def test_a_login_window_has_no_door(core: Core, verb: str) -> None:
    core.browser.script = [STARTED, HandedOver(1800)]
    core.do("profiles/login")

    assert core.refusal(verb)["code"] == "session_busy"


def test_the_profiles_are_listed_with_what_was_last_seen(core: Core) -> None:
    core.profiles.names.add("shop")
    opened(core)
    found = {view["profile"]: view for view in core.do("profiles/list")["profiles"]}

    assert found["master"]["login"]["state"] == "logged_in"
    assert found["master"]["encryption"] == "none"
    assert "login" not in found["shop"]


def test_a_login_that_has_cost_the_profile_its_cookies_says_so(core: Core) -> None:
    core.browser.script = [STARTED, HandedOver(1800)]
    core.profiles.lost = "all cookies are gone; a copy is in backups/master-cookies-1"
    core.do("profiles/login")
    core.do("session/close")
    told = ended(core)

    assert told["reason"] == "closed_by_command"
    assert told["error"] == {"code": "keyring_unreachable", "message": core.profiles.lost}


def test_a_profile_was_last_used_when_a_session_last_opened_a_clone_of_it(core: Core) -> None:
    core.profiles.names.add("shop")
    opened(core)
    at = core.events("session.opened")[0]["time"]
    core.do("session/close")
    ended(core)
    core.clock.advance(3600)
    found = {view["profile"]: view for view in core.do("profiles/list")["profiles"]}

    assert found["master"]["used_at"] == at
    assert "used_at" not in found["shop"]


def test_a_promotion_closes_the_session_and_keeps_its_clone(core: Core) -> None:
    session = opened(core)
    core.do("profiles/promote", {"session": session})
    told = ended(core)

    assert core.profiles.promoted == [(session, "master")]
    assert (told["promoted_to"], told["backup"]) == ("master", "backups/master-1")


def test_a_clone_that_may_not_become_the_profile_is_kept_and_told(core: Core) -> None:
    core.profiles.promotion_refusal = Rejected(Code.PROFILE_CHANGED, "profile 'master' has changed")
    session = opened(core)
    core.do("profiles/promote", {"session": session})
    told = ended(core)

    assert core.profiles.kept == [(session, "master")]
    assert (told["promotion_error"], told["kept_clone"]) == (
        "profile 'master' has changed",
        "backups/master-clone-1",
    )
    assert "promoted_to" not in told


def test_a_clone_that_did_not_close_cleanly_is_not_promoted(core: Core) -> None:
    core.browser.hangs = True
    session = opened(core)
    core.do("profiles/promote", {"profile": "shop"})
    wait_until(lambda: core.browser.opened[0].closed, 10, what="the close")
    core.browser.opened[0].tell(BrowserEnded(reason=EndReason.CLOSED_BY_COMMAND, exit_status=-9))

    assert "cleanly" in ended(core)["promotion_error"]
    assert core.profiles.promoted == []
    assert core.profiles.kept == [(session, "shop")]


# -- the account that a profile is -----------------------------------------------------------------------------


def test_the_page_tells_which_account_a_profile_is(core: Core) -> None:
    opened(core)

    assert core.events("session.login_state")[0]["data"]["account"] == "ada"
    assert core.do("account/list")["accounts"][0]["browser_login"]["state"] == "logged_in"


def test_a_configured_account_comes_first(tmp_path: Path) -> None:
    accounts = {ProfileName("master"): AccountName("shop")}
    policy = replace(POLICY, sessions=SessionPolicy(accounts=accounts))
    with Core(tmp_path, policy=policy) as core:
        opened(core)

        assert core.events("session.login_state")[0]["data"]["account"] == "shop"


def test_a_profile_is_remembered_as_its_account_once_it_is_logged_out(core: Core) -> None:
    opened(core)
    core.do("session/close")
    settle(core)
    core.browser.script = [STARTED, LoginSeen(LOGGED_OUT), BrowserEnded(reason=EndReason.LOGGED_OUT)]
    core.refusal("session/open")

    assert core.do("account/list")["accounts"][0]["browser_login"]["state"] == "logged_out"


def test_another_user_is_nobodys_account(core: Core) -> None:
    core.browser.script = [STARTED, LoginSeen(replace(LOGGED_IN, username="eve")), HandedOver(300)]
    opened(core)

    assert "account" not in core.events("session.login_state")[0]["data"]


# -- retained states -----------------------------------------------------------------------------------------


def test_an_open_session_stands_retained(core: Core) -> None:
    session = opened(core)

    assert state_of(core, f"session/{session}")["state"] == "open"  # type: ignore[index]


def test_an_ended_session_leaves_no_retained_state(core: Core) -> None:
    session = opened(core)
    core.do("session/close")
    settle(core)

    assert state_of(core, f"session/{session}") is None


def test_the_last_login_state_stands_retained(core: Core) -> None:
    opened(core)

    assert state_of(core, "profile/master")["login"]["state"] == "logged_in"  # type: ignore[index]
    assert state_of(core, "account/ada")["browser_login"]["state"] == "logged_in"  # type: ignore[index]


# -- a daemon that dies --------------------------------------------------------------------------------------


def _killed_with_an_open_order(core: Core) -> Call:
    core.browser.gate.clear()
    call = core.submit("session/open", id="lost")
    wait_until(lambda: core.events("session.requested"), 10, what="the order")
    return call


def test_a_session_of_a_dead_daemon_is_told_as_orphaned(core: Core) -> None:
    session = opened(core)
    core.die()
    core.profiles.left = [SessionId(session)]
    core.start()
    settle(core)

    assert core.events("session.ended")[0]["data"]["reason"] == "orphaned"
    assert core.browser.ended[-1] == core.profiles.released[-1] == session


def test_an_orphan_without_a_folder_is_told_too(core: Core) -> None:
    opened(core)
    core.die()
    core.start()

    assert ended(core)["reason"] == "orphaned"


def test_a_session_that_its_old_worker_still_holds_is_left_alone(core: Core) -> None:
    session = opened(core)
    core.die()
    core.profiles.held = {SessionId(session)}
    core.start()
    core.settle()
    assert core.events("session.ended") == []

    core.profiles.held = set()
    core.sweep()
    settle(core)
    assert core.events("session.ended")[0]["data"]["reason"] == "orphaned"


def test_the_order_of_an_orphan_is_answered(core: Core) -> None:
    _killed_with_an_open_order(core)
    core.die()
    core.start()
    settle(core)

    reply = core.send("session/open", id="lost")
    assert (reply["status"], reply["error"]["code"], reply["replayed"]) == ("failed", "internal", True)


def test_remains_that_the_ledger_does_not_know_are_told(core: Core) -> None:
    core.profiles.left = [SessionId("f" * 16)]
    core.sweep()
    settle(core)

    assert core.events("session.ended")[0]["subject"] == f"session/{'f' * 16}"


def test_a_session_of_this_start_is_no_orphan(core: Core) -> None:
    opened(core)
    core.sweep()
    core.settle()

    assert core.events("session.ended") == []


def test_an_orphan_that_resists_keeps_no_other_from_being_cleared(core: Core) -> None:
    core.settle()
    core.browser.end_error = OSError(24, "Too many open files")
    core.profiles.left = [SessionId("e" * 16), SessionId("f" * 16)]
    core.sweep()
    settle(core, 2)

    assert core.profiles.released == ["e" * 16, "f" * 16]


def test_a_session_is_released_even_where_its_processes_resist(core: Core) -> None:
    session = opened(core)
    core.browser.end_error = OSError(24, "Too many open files")
    core.do("session/close")

    assert ended(core)["reason"] == "failed"
    assert core.profiles.released == [session]


def test_a_session_of_this_start_that_no_worker_has_any_more_is_ended_in_time(core: Core) -> None:
    session = opened(core)
    core.live.end(SessionId(session))  # as if its worker thread were gone without a word
    core.sweep()
    core.settle()
    assert core.events("session.ended") == []

    core.clock.advance(61)
    core.sweep()
    core.settle()
    assert core.events("session.ended")[0]["data"]["reason"] == "orphaned"
    core.live.begin(SessionId(session))  # its thread is alive after all, and may end
    core.browser.opened[0].tell(BrowserEnded(reason=EndReason.CRASHED))


def test_a_promotion_of_a_session_that_closes_already_is_kept_in_mind(core: Core) -> None:
    core.browser.hangs = True
    session = opened(core)
    core.live.close(SessionId(session), EndReason.CLOSED_BY_COMMAND)
    core.do("profiles/promote", {"session": session})
    core.settle()
    core.browser.opened[0].tell(
        BrowserEnded(reason=EndReason.CLOSED_BY_COMMAND, exit_status=0, is_clean=True)
    )

    assert ended(core)["promoted_to"] == "master"


def test_a_stop_closes_every_session(tmp_path: Path) -> None:
    core = Core(tmp_path)
    core.start()
    core.link()
    opened(core), opened(core)
    core.stop()
    core.start()
    core.settle()

    assert [event["data"]["reason"] for event in core.events("session.ended")] == ["shutdown", "shutdown"]
    core.stop()


def test_a_profile_on_disk_warms_the_browser_at_the_start(core: Core) -> None:
    core.settle()

    assert core.browser.is_warm
