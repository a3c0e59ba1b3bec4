"""Every error code of TikTok's that tokd knows, answered at every place, and the class of behaviour that follows.

The tables below are written from posts-and-schedulers.md section 4.5, not from the code's own classes. All posts run
at the same time in one daemon, each of a user of its own, and the tests look at what became of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.tiktok.errors import api_codes, fail_reasons, oauth_codes
from tests.daemons import make_clip
from tests.e2e.stage import SMALL_CHUNKS, Stage, staged
from tests.waiting import wait_until

NEW = "a_code_nobody_has_seen"  # stands for every code that TikTok may invent
CAP_HOLD_S = 4

# code: (at init, at creator_info, at status). What each word means is the function of that name below.
API = {
    "invalid_param": ("fails", "fails", "doubts_then_learns"),
    "invalid_params": ("fails", "fails", "doubts_then_learns"),
    "app_version_check_failed": ("fails", "fails", "doubts_then_learns"),
    "invalid_publish_id": ("retries", "retries", "doubts_then_learns"),
    "token_not_authorized_for_specified_publish_id": ("retries", "retries", "doubts_then_learns"),
    "publish_not_cancellable": ("retries", "retries", "doubts_then_learns"),
    "access_token_invalid": ("refreshes", "refreshes", "refreshes"),
    "scope_not_authorized": ("holds_for_scope", "holds_for_scope", "reads_again"),
    "scope_permission_missed": ("holds_for_scope", "holds_for_scope", "reads_again"),
    "invalid_file_upload": ("fails", "fails", "doubts_then_learns"),
    "spam_risk_too_many_posts": ("holds_for_cap", "holds_for_cap", "reads_again"),
    "spam_risk_user_banned_from_posting": ("bans", "bans", "reads_again"),
    "spam_risk_too_many_pending_share": ("holds_for_cap", "holds_for_cap", "reads_again"),
    "reached_active_user_cap": ("holds_for_cap", "holds_for_cap", "reads_again"),
    "unaudited_client_can_only_post_to_private_accounts": ("fails", "fails", "reads_again"),
    "url_ownership_unverified": ("fails", "fails", "doubts_then_learns"),
    "privacy_level_option_mismatch": ("fails", "fails", "reads_again"),
    "rate_limit_exceeded": ("waits", "waits", "reads_again"),
    "internal_error": ("retries", "retries", "reads_again"),
    NEW: ("fails", "fails", "doubts_then_learns"),
}
FAIL_REASONS = {
    "file_format_check_failed": "is_refused",
    "duration_check_failed": "is_refused",
    "frame_rate_check_failed": "is_refused",
    "picture_size_check_failed": "is_refused",
    "internal": "begins_anew",
    "video_pull_failed": "is_refused",
    "photo_pull_failed": "is_refused",  # of a video: photos are tried again, below
    "publish_cancelled": "is_cancelled",
    "auth_removed": "is_refused_and_needs_login",
    "spam_risk_too_many_posts": "holds_for_cap_then_begins_anew",
    "spam_risk_user_banned_from_posting": "is_refused_and_banned",
    "spam_risk_text": "is_refused",
    "spam_risk": "is_refused",
    NEW: "is_refused",
}
OAUTH = {
    "access_denied": "needs_login",
    "invalid_client": "retries",  # the app's fault: the account keeps its tokens
    "invalid_grant": "needs_login",
    "invalid_request": "needs_login",
    "invalid_scope": "needs_login",
    "unauthorized_client": "retries",
    "unsupported_grant_type": "needs_login",
    "unsupported_response_type": "needs_login",
    "server_error": "retries",
    "temporarily_unavailable": "retries",
}
UPLOADS = {
    # HTTP status: (on a chunk that is not the last, on the last)
    400: ("fails_with_orphan", "sends_again"),
    401: ("fails_with_orphan", "sends_again"),
    403: ("inits_anew", "doubts"),
    404: ("inits_anew", "doubts"),
    416: ("sends_again", "sends_again"),
    429: ("inits_anew_free", "sends_again"),
    500: ("sends_again", "sends_again"),
    502: ("sends_again", "sends_again"),
    503: ("sends_again", "sends_again"),
}


@dataclass
class Case:
    """One post that meets one answer."""

    name: str
    behaviour: str
    code: str
    faults: tuple[dict[str, Any], ...] = ()
    how: str = "file"
    args: dict[str, Any] = field(default_factory=dict)
    rotates: bool = False
    post: str = ""

    @property
    def user(self) -> str:
        return self.name.replace("/", ".")[:64]


def _error(endpoint: str, code: str, times: int = 1, status: int | None = None) -> tuple[dict[str, Any], ...]:
    if code == "rate_limit_exceeded":
        body = {"data": {}, "error": {"code": code, "message": "slowly", "log_id": "1"}}
        return (
            {"endpoint": endpoint, "action": "status", "status": status or 429, "body": body, "times": times,
             "headers": {"Retry-After": "1"}},
        )  # fmt: skip
    return ({"endpoint": endpoint, "action": "error", "code": code, "times": times, "status": status},)


def _make_cases() -> Iterator[Case]:
    for code, (init, creator, status) in API.items():
        yield Case(f"init/{code}", init, code, _error("init", code))
        pull = "doubts" if init == "retries" else init
        yield Case(f"pull/{code}", pull, code, _error("init", code), "pull")
        yield Case(f"photo/{code}", pull, code, _error("init", code), "photo")
        yield Case(f"soft/{code}", init, code, _error("init", code, status=200))
        yield Case(f"creator/{code}", creator, code, _error("creator_info", code))
        yield Case(f"status/{code}", status, code, _error("status", code))
    for code, behaviour in FAIL_REASONS.items():
        fault = {"endpoint": "init", "action": "fail", "reason": code}
        yield Case(f"reason/{code}", behaviour, code, (fault,))
    for code, behaviour in OAUTH.items():
        yield Case(f"refresh/{code}", behaviour, code, _error("refresh", code), rotates=True)
    for status, (inner, last) in UPLOADS.items():
        fault = {"endpoint": "upload", "action": "status", "status": status, "headers": {"Retry-After": "1"}}
        yield Case(f"chunk/{status}", inner, str(status), (fault,), args={"media": "two.mp4"})
        yield Case(f"last/{status}", last, str(status), (fault | {"after": 1},), args={"media": "two.mp4"})
    for place, endpoint, how in (
        ("init", "init", "file"),
        ("pull", "init", "pull"),
        ("creator", "creator_info", "file"),
    ):
        faults = _error(endpoint, "access_token_invalid", 2)
        yield Case(f"twice/{place}", "needs_login", "access_token_invalid", faults, how)
    faults = _error("status", "access_token_invalid", 2)
    yield Case("twice/status", "is_read_after_login", "access_token_invalid", faults)
    internal = {"endpoint": "init", "action": "fail", "reason": "internal", "times": None}
    yield Case("always/internal", "gives_up_after_two_more", "internal", (internal,))
    for place in ("photo_pull_failed", "video_pull_failed"):
        fault = {"endpoint": "init", "action": "fail", "reason": place}
        yield Case(f"photos/{place}", "begins_anew", place, (fault,), "photo")
    yield Case("always/server", "spends_its_retries", "", _error("init", "internal_error", 9))

    for code in API:
        stuck = {"endpoint": "init", "action": "stuck"}
        behaviour = "is_stopped" if code == "access_token_invalid" else "cannot_be_stopped"
        yield Case(f"cancel/{code}", behaviour, code, (stuck, *_error("cancel", code)), "pull")


CASES = {case.name: case for case in _make_cases()}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("codes")
    settings = SMALL_CHUNKS | {"posts.cap_hold_s": str(CAP_HOLD_S)}
    with staged(folder, settings) as found:
        make_clip(found.daemon.media / "clip.mp4")
        make_clip(found.daemon.media / "two.mp4", pad_to=12_000_000)
        _run_all(found)
        yield found


def _run_all(stage: Stage) -> None:
    cases = CASES.values()
    stage.link_all(case.user for case in cases)
    stage.simulator.faults(*({"user": case.user} | fault for case in cases for fault in case.faults))
    for case in cases:
        if case.rotates:
            stage.simulator.post("rotate_tokens", {"user": case.user})
    ways = {"file": stage.schedule, "pull": stage.schedule_pull, "photo": stage.schedule_photos}
    for case in cases:
        case.post = ways[case.how](case.user, **case.args)


# -- the behaviours ------------------------------------------------------------------------------------------


def _end(stage: Stage, case: Case, *states: str) -> dict[str, Any]:
    return stage.daemon.wait_state(case.post, *states, within_s=60)


def _inits(stage: Stage, case: Case) -> int:
    return len(stage.seen("inits", case.user))


def _account(stage: Stage, case: Case) -> dict[str, Any]:
    return stage.account_row(case.user)


def _is_published(stage: Stage, case: Case, *, inits: int = 1, tries: int = 0) -> None:
    stage.assert_published_once(case.post, case.user, inits=inits)
    assert stage.column(case.post, "tries") == tries
    assert _account(stage, case)["login"] == "ok"
    assert _account(stage, case)["enabled"] is True


def fails(stage: Stage, case: Case) -> None:
    """FAILED at once with the code and advice, nothing at TikTok, the account untouched."""
    post = _end(stage, case, "failed")
    assert post["reason"] == case.code
    assert len(post["detail"]) > 20
    assert _inits(stage, case) == 0
    assert stage.events_of(case.post) == ["scheduled", "started", "failed"]
    assert stage.column(case.post, "tries") == 0
    assert _account(stage, case)["login"] == "ok"
    assert _account(stage, case)["enabled"] is True


def retries(stage: Stage, case: Case) -> None:
    """One try is spent, the second attempt goes through."""
    _is_published(stage, case, tries=1)
    assert stage.events_of(case.post).count("retrying") == 1


def waits(stage: Stage, case: Case) -> None:
    """The window is waited for, which costs no try."""
    _is_published(stage, case, tries=0)
    assert stage.events_of(case.post).count("retrying") == 1


def refreshes(stage: Stage, case: Case) -> None:
    """The tokens are renewed once and the same call is repeated, within the same attempt."""
    _is_published(stage, case)
    assert len(stage.seen("refreshes", case.user)) == 1
    assert stage.daemon.post(case.post)["attempt"] == 1
    assert "retrying" not in stage.events_of(case.post)


def needs_login(stage: Stage, case: Case) -> None:
    """HELD, the account needs a login; a new link lets the post go out, once."""
    post = _end(stage, case, "held")
    assert post["reason"] == "account_needs_login"
    assert _account(stage, case)["login"] == "needs_login"
    assert _inits(stage, case) == 0
    stage.daemon.link(stage.simulator, case.user)
    _is_published(stage, case)


def holds_for_scope(stage: Stage, case: Case) -> None:
    """HELD until the account is linked again."""
    post = _end(stage, case, "held")
    assert post["reason"] == "scope_missing"
    assert _inits(stage, case) == 0
    stage.daemon.link(stage.simulator, case.user)
    _is_published(stage, case)


def holds_for_cap(stage: Stage, case: Case) -> None:
    """HELD until the window opens, then posted; no try is spent."""
    _is_published(stage, case)
    events = stage.post_events(case.post)
    held = next(event for event in events if event["type"].endswith("post.held"))
    assert held["data"]["reason"] == "cap_reached"
    assert case.code in held["data"]["detail"]
    assert stage.events_of(case.post)[:4] == ["scheduled", "started", "held", "released"]


def bans(stage: Stage, case: Case) -> None:
    """FAILED, and the account is paused: its next post is held."""
    post = _end(stage, case, "failed")
    assert post["reason"] == case.code
    assert _inits(stage, case) == 0
    _is_shut_out(stage, case)


def _is_shut_out(stage: Stage, case: Case) -> None:
    assert _account(stage, case)["enabled"] is False
    later = stage.schedule(case.user)
    assert stage.daemon.wait_state(later, "held")["reason"] == "account_disabled"


def doubts(stage: Stage, case: Case) -> None:
    """UNCERTAIN: it may be out. Nothing is begun a second time."""
    post = _end(stage, case, "uncertain")
    assert post["reason"] == "outcome_unknown"
    assert "resolve" in post["detail"]
    assert post["attempt"] == 1
    assert _inits(stage, case) <= 1
    assert stage.seen("publishes", case.user) == []
    assert "retrying" not in stage.events_of(case.post)


def reads_again(stage: Stage, case: Case) -> None:
    """The failed read says nothing about the post: the next one does."""
    _is_published(stage, case)
    assert stage.events_of(case.post) == ["scheduled", "started", "initialised", "processing", "published"]


def doubts_then_learns(stage: Stage, case: Case) -> None:
    """UNCERTAIN until a later read brings the verdict; never a second init."""
    _is_published(stage, case)
    assert stage.events_of(case.post)[-2:] == ["uncertain", "published"]


def is_read_after_login(stage: Stage, case: Case) -> None:
    """The account needs a login; the post, which is out, is read to its end after it."""
    wait_until(lambda: _account(stage, case)["login"] == "needs_login", 30)
    assert stage.daemon.post(case.post)["state"] == "processing"
    stage.daemon.link(stage.simulator, case.user)
    _is_published(stage, case)


def is_refused(stage: Stage, case: Case) -> None:
    """TikTok's own FAILED is final: the reason, advice, no second init."""
    post = _end(stage, case, "failed")
    assert post["reason"] == case.code
    assert len(post["detail"]) > 20
    assert _inits(stage, case) == 1


def is_refused_and_needs_login(stage: Stage, case: Case) -> None:
    is_refused(stage, case)
    assert _account(stage, case)["login"] == "needs_login"


def is_refused_and_banned(stage: Stage, case: Case) -> None:
    is_refused(stage, case)
    _is_shut_out(stage, case)


def is_cancelled(stage: Stage, case: Case) -> None:
    """TikTok confirms a cancel."""
    _end(stage, case, "cancelled")
    assert _inits(stage, case) == 1


def begins_anew(stage: Stage, case: Case) -> None:
    """A new attempt is safe, because TikTok has said no."""
    _is_published(stage, case, inits=2)
    assert stage.column(case.post, "remote_tries") == 1
    assert stage.daemon.post(case.post)["attempt"] == 2


def gives_up_after_two_more(stage: Stage, case: Case) -> None:
    """Two new attempts, then FAILED."""
    assert _end(stage, case, "failed")["reason"] == case.code
    assert _inits(stage, case) == 3


def holds_for_cap_then_begins_anew(stage: Stage, case: Case) -> None:
    _is_published(stage, case, inits=2)
    assert "held" in stage.events_of(case.post)


def spends_its_retries(stage: Stage, case: Case) -> None:
    """Six attempts in all, then FAILED with the last error."""
    post = _end(stage, case, "failed")
    assert post["reason"] == "retries_spent"
    assert "internal_error" in post["detail"]
    assert post["attempt"] == 6
    assert _inits(stage, case) == 0


def cannot_be_stopped(stage: Stage, case: Case) -> None:
    """The cancel is answered `too_late`, and the post goes on to the end that TikTok gives it."""
    _end(stage, case, "processing")
    reply = stage.daemon.call("post/cancel", {"post": case.post})
    assert (reply["status"], reply["error"]["code"]) == ("rejected", "too_late")
    publish_id = stage.daemon.post(case.post)["publish_id"]
    stage.simulator.post(f"posts/{publish_id}", {"status": "PUBLISH_COMPLETE"})
    _is_published(stage, case)


def is_stopped(stage: Stage, case: Case) -> None:
    """The tokens are renewed, the cancel is repeated, the post is stopped."""
    _end(stage, case, "processing")
    reply = stage.daemon.call("post/cancel", {"post": case.post})
    assert "agreed to stop" in reply["result"]["note"]
    _end(stage, case, "cancelled")
    assert stage.seen("publishes", case.user) == []


def fails_with_orphan(stage: Stage, case: Case) -> None:
    """FAILED before the last chunk: nothing can appear."""
    post = _end(stage, case, "failed")
    assert case.code in post["reason"] or post["reason"] == "bad_chunk"
    assert _inits(stage, case) == 1
    assert stage.seen("publishes", case.user) == []


def sends_again(stage: Stage, case: Case) -> None:
    """The same chunk of the same upload again."""
    _is_published(stage, case)
    assert stage.daemon.post(case.post)["attempt"] == 1


def inits_anew(stage: Stage, case: Case) -> None:
    """The address is dead, the upload incomplete: a new init, at the cost of a try."""
    _is_published(stage, case, inits=2, tries=1)


def inits_anew_free(stage: Stage, case: Case) -> None:
    _is_published(stage, case, inits=2, tries=0)


# -- the tests -----------------------------------------------------------------------------------------------


def _of(*places: str) -> list[str]:
    return [name for name in CASES if name.partition("/")[0] in places]


def _check(stage: Stage, name: str) -> None:
    case = CASES[name]
    globals()[case.behaviour](stage, case)


@pytest.mark.parametrize("name", _of("init"))
def test_code_at_init_of_a_file_has_its_documented_behaviour(stage: Stage, name: str) -> None:
    _check(stage, name)


@pytest.mark.parametrize("name", _of("soft"))
def test_code_with_http_200_counts_like_any_other(stage: Stage, name: str) -> None:
    _check(stage, name)


@pytest.mark.parametrize("name", _of("pull", "photo"))
def test_code_at_init_of_a_pull_has_its_documented_behaviour(stage: Stage, name: str) -> None:
    _check(stage, name)


@pytest.mark.parametrize("name", _of("creator"))
def test_code_at_creator_info_has_its_documented_behaviour(stage: Stage, name: str) -> None:
    _check(stage, name)


@pytest.mark.parametrize("name", _of("status"))
def test_code_at_status_never_begins_a_second_post(stage: Stage, name: str) -> None:
    _check(stage, name)


@pytest.mark.parametrize("name", _of("cancel"))
def test_code_at_cancel_never_pretends(stage: Stage, name: str) -> None:
    _check(stage, name)


@pytest.mark.parametrize("name", _of("reason", "always", "photos"))
def test_fail_reason_has_its_documented_behaviour(stage: Stage, name: str) -> None:
    _check(stage, name)


@pytest.mark.parametrize("name", _of("refresh", "twice"))
def test_refused_login_has_its_documented_behaviour(stage: Stage, name: str) -> None:
    _check(stage, name)


@pytest.mark.parametrize("name", _of("chunk", "last"))
def test_upload_status_has_its_documented_behaviour(stage: Stage, name: str) -> None:
    _check(stage, name)


def test_every_code_of_the_posting_table_has_an_expectation() -> None:
    assert {meaning.code for meaning in api_codes()} | {NEW} == set(API)


def test_every_fail_reason_has_an_expectation() -> None:
    assert {meaning.code for meaning in fail_reasons()} | {NEW} == set(FAIL_REASONS)


def test_every_oauth_error_has_an_expectation() -> None:
    assert {meaning.code for meaning in oauth_codes()} == set(OAUTH)


def test_every_failed_post_carries_the_advice_of_its_code(stage: Stage) -> None:
    """What a person should do stands in the post itself, word for word."""
    advice = {meaning.code: meaning.advice for meaning in api_codes()}
    for code, (behaviour, _, _) in API.items():
        if behaviour == "fails" and code != NEW:
            post = _end(stage, CASES[f"init/{code}"], "failed")
            assert advice[code].rstrip(".") in post["detail"], code


def test_the_list_tells_of_every_account_what_the_ledger_says(stage: Stage) -> None:
    listed = {
        name: {"login": told["login"], "enabled": told["enabled"]} for name, told in stage.accounts().items()
    }

    assert set(listed) == {case.user for case in CASES.values()}
    assert listed == {name: stage.account_row(name) for name in listed}


def test_daemon_is_unharmed_by_all_of_them(stage: Stage) -> None:
    assert stage.is_alive()
