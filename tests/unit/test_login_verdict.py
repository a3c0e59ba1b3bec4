"""The login verdict, row by row over saved facts, and what holds for all facts whatever they are."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.login import (
    Doubt,
    Login,
    LoginFacts,
    LoginRules,
    Verdict,
    judge,
    may_reload,
    negative_signs,
    without_page,
)  # fmt: skip
from tests.site_facts import AVATAR, BUTTON, CAPTCHA, SAVED

RULES = LoginRules()
COOKIE_DECIDES = LoginRules(cookie_absent_decides=True)

IN, OUT, UNSURE = Login.LOGGED_IN, Login.LOGGED_OUT, Login.UNCERTAIN
LAST = 8.0


def facts(**seen: Any) -> LoginFacts:
    """A page of the site that came in full, unless said otherwise."""
    usual = {"page_status": 200, "is_complete": True, "host": "www.tiktok.com", "path": "/"}
    return LoginFacts(**{**usual, **seen})


def loading(**seen: Any) -> LoginFacts:
    return facts(is_complete=False, **seen)


INFO_IN = {"info_status": 200, "info_login": True}
INFO_OUT = {"info_status": 200, "info_login": False}

# sentence, facts, seconds, is it the last look, login, reason, method, a part of the evidence
ROWS = [
    # -- the page states of the simulator, as a real Chromium has seen them
    *((f"the simulator's page: {name}", found.facts, LAST, True, found.login, found.reason, found.method, found.evidence)
      for name, found in SAVED.items()),
    # -- the same in other moments
    ("a page with state, call and avatar is logged in",
     facts(**INFO_IN, state_login=True, dom_in=AVATAR, cookie=True), 0.3, False,
     IN, None, "info", "account info call: 200, a user"),
    ("a page without user, with an expired session and no cookie is logged out",
     facts(**INFO_OUT, state_login=False, dom_out=BUTTON, cookie=False), 0.3, False,
     OUT, None, "info", "account info call: session expired"),
    ("a slow page in time is judged like any other",
     facts(**INFO_IN, state_login=True, cookie=True), 3.2, False,
     IN, None, "info", "page state: a user"),
    ("a slow page that does not come in time is slow",
     LoginFacts(cookie=True), LAST, True,
     UNSURE, Doubt.SLOW, "none", "page not complete after 8.0 s"),
    ("a skeleton turned into an avatar is logged in",
     facts(**INFO_IN, dom_in=AVATAR, cookie=True), 0.7, False,
     IN, None, "info", f"visible: {AVATAR}"),
    ("a skeleton whose call says expired is logged out",
     facts(**INFO_OUT, dom_out=BUTTON, cookie=False), 0.7, False,
     OUT, None, "info", f"visible: {BUTTON}"),
    ("a page with neither marker tells nothing",
     facts(cookie=False), LAST, True,
     UNSURE, Doubt.NO_EVIDENCE, "none", "page tells too little after 8.0 s"),
    ("a page with neither marker and a cookie tells nothing",
     facts(cookie=True), LAST, True,
     UNSURE, Doubt.NO_EVIDENCE, "none", "login cookie: present"),
    ("a captcha is for the person",
     facts(challenge=CAPTCHA, cookie=True), 0.1, False,
     UNSURE, Doubt.CHALLENGE, "challenge", f"visible: {CAPTCHA}"),
    ("a captcha counts more than a user",
     facts(challenge=CAPTCHA, **INFO_IN, state_login=True), 0.1, False,
     UNSURE, Doubt.CHALLENGE, "challenge", f"visible: {CAPTCHA}"),
    ("a captcha counts more than an expired session",
     facts(challenge=CAPTCHA, **INFO_OUT, cookie=False), 5, False,
     UNSURE, Doubt.CHALLENGE, "challenge", f"visible: {CAPTCHA}"),
    ("a page of 401 is a refusal",
     facts(page_status=401), 0.1, False, UNSURE, Doubt.REFUSED, "page", "page: status 401"),
    ("a page of 403 is a refusal",
     facts(page_status=403), 0.1, False, UNSURE, Doubt.REFUSED, "page", "page: status 403"),
    ("a page of 404 is a refusal",
     facts(page_status=404), 0.1, False, UNSURE, Doubt.REFUSED, "page", "page: status 404"),
    ("a page of 429 asks for patience",
     facts(page_status=429), 0.1, False, UNSURE, Doubt.RATE_LIMITED, "page", "page: status 429"),
    ("a page of 500 is the server's error",
     facts(page_status=500), 0.1, False, UNSURE, Doubt.SERVER_ERROR, "page", "page: status 500"),
    ("a page of 503 without a cookie is no logout",
     facts(page_status=503, cookie=False), LAST, True,
     UNSURE, Doubt.SERVER_ERROR, "page", "page: status 503"),
    ("another site in full is off the site",
     facts(is_on_site=False, host="example.com", cookie=True), 0.4, False,
     UNSURE, Doubt.OFF_SITE, "page", "on another host, example.com"),
    ("another site at the end of the time is off the site",
     loading(is_on_site=False, host="example.com"), LAST, True,
     UNSURE, Doubt.OFF_SITE, "page", "example.com"),
    ("the status of another site's page is not ours",
     facts(is_on_site=False, host="example.com", page_status=500), 1, False,
     UNSURE, Doubt.OFF_SITE, "page", "example.com"),
    ("a redirect to the login page without a cookie is logged out",
     facts(is_login_page=True, path="/login", cookie=False), 0.4, False,
     OUT, None, "redirect", "sent to the login page"),
    ("a redirect to the login page that lasts is logged out, whatever the cookie",
     facts(is_login_page=True, path="/login", cookie=True), 2, False,
     OUT, None, "redirect", "sent to the login page"),
    ("a user in the page and an expired session in the call are a conflict",
     facts(**INFO_OUT, state_login=True, dom_in=AVATAR, cookie=True), LAST, True,
     UNSURE, Doubt.CONFLICT, "info", "page state: a user"),
    # -- the account info call
    ("the call alone can say logged in, before the page is complete",
     loading(**INFO_IN), 0.1, False, IN, None, "info", "account info call: 200, a user"),
    ("a user in the call beats a skeleton's login button",
     facts(**INFO_IN, dom_out=BUTTON, cookie=True), 0.3, False, IN, None, "info", "200, a user"),
    ("a user in the call beats an absent cookie, which may have a new name",
     facts(**INFO_IN, cookie=False), 0.3, False, IN, None, "info", "200, a user"),
    ("a user in the call and none in the page state are a conflict",
     facts(**INFO_IN, state_login=False, cookie=True), LAST, True,
     UNSURE, Doubt.CONFLICT, "info", "page state: no user"),
    ("a user in the call and a redirect to the login page are a conflict",
     facts(**INFO_IN, is_login_page=True), LAST, True,
     UNSURE, Doubt.CONFLICT, "info", "sent to the login page"),
    ("an expired session in the call alone must last",
     facts(**INFO_OUT, cookie=True), 2, False, OUT, None, "info", "session expired"),
    ("an expired session and no user in the page are logged out though a cookie is left",
     facts(**INFO_OUT, state_login=False, cookie=True), 0.2, False, OUT, None, "info", "page state: no user"),
    ("an expired session and a login button are logged out",
     facts(**INFO_OUT, dom_out=BUTTON, cookie=True), 0.4, False, OUT, None, "info", BUTTON),
    ("a call of 401 and an absent cookie are logged out",
     facts(info_status=401, cookie=False), 0.2, False, OUT, None, "info", "account info call: status 401"),
    ("a call of 401 alone that lasts is logged out",
     facts(info_status=401, cookie=True), 2, False, OUT, None, "info", "account info call: status 401"),
    ("a call of 401 against a user in the page is a conflict",
     facts(info_status=401, state_login=True), LAST, True,
     UNSURE, Doubt.CONFLICT, "info", "account info call: status 401"),
    ("a call of 403 against an avatar is a conflict",
     facts(info_status=403, dom_in=AVATAR, cookie=True), LAST, True,
     UNSURE, Doubt.CONFLICT, "info", "account info call: status 403"),
    ("a call of 403 and a login button do not outweigh a living cookie",
     facts(info_status=403, dom_out=BUTTON, cookie=True), LAST, True,
     UNSURE, Doubt.REFUSED, "info", "account info call: status 403"),
    ("a call of 403 alone is a refusal",
     facts(info_status=403), LAST, True, UNSURE, Doubt.REFUSED, "info", "account info call: status 403"),
    ("a call of 403 and an absent cookie that last are logged out",
     facts(info_status=403, cookie=False), 2, False, OUT, None, "info", "login cookie: absent"),
    ("a call of 429 and nothing else ask for patience",
     facts(info_status=429, cookie=True), LAST, True,
     UNSURE, Doubt.RATE_LIMITED, "info", "account info call: status 429"),
    ("a call of 429 beside a user in the page is logged in",
     facts(info_status=429, state_login=True, cookie=True), 0.2, False,
     IN, None, "page_state", "page state: a user"),
    ("a call of 500 and nothing else tell nothing",
     facts(info_status=500, cookie=True), LAST, True,
     UNSURE, Doubt.NO_EVIDENCE, "none", "account info call: status 500, says nothing"),
    ("a call of 500 leaves it to the page and the cookie",
     facts(info_status=500, state_login=False, cookie=False), 0.2, False,
     OUT, None, "page_state", "page state: no user"),
    ("a call that hangs leaves it to the page state",
     facts(state_login=True, cookie=True), 0.5, False, IN, None, "page_state", "page state: a user"),
    ("a call that hangs on a page without marker tells nothing",
     facts(), LAST, True, UNSURE, Doubt.NO_EVIDENCE, "none", "page tells too little"),
    ("a call that answers garbage tells nothing",
     facts(info_status=200, cookie=True), LAST, True,
     UNSURE, Doubt.NO_EVIDENCE, "none", "account info call: status 200, says nothing"),
    ("a call that answers garbage leaves it to the page state",
     facts(info_status=200, state_login=True), 0.5, False, IN, None, "page_state", "page state: a user"),
    # -- page state, avatar and button
    ("no user in the page state alone must last",
     facts(state_login=False, cookie=True), 2, False, OUT, None, "page_state", "page state: no user"),
    ("no user in the page state and an absent cookie are logged out at once",
     loading(state_login=False, cookie=False), 0.1, False, OUT, None, "page_state", "login cookie: absent"),
    ("no user in the page state against an avatar is a conflict",
     facts(state_login=False, dom_in=AVATAR, cookie=True), LAST, True,
     UNSURE, Doubt.CONFLICT, "page_state", f"visible: {AVATAR}"),
    ("an avatar alone is logged in",
     facts(dom_in=AVATAR, cookie=True), 0.5, False, IN, None, "dom", f"visible: {AVATAR}"),
    ("an avatar with an unknown cookie is logged in",
     facts(dom_in=AVATAR), 0.5, False, IN, None, "dom", f"visible: {AVATAR}"),
    ("an avatar without a cookie is a conflict",
     facts(dom_in=AVATAR, cookie=False), LAST, True,
     UNSURE, Doubt.CONFLICT, "dom", "login cookie: absent"),
    ("an avatar and a login button are a conflict",
     facts(dom_in=AVATAR, dom_out=BUTTON, cookie=True), LAST, True, UNSURE, Doubt.CONFLICT, "dom", BUTTON),
    ("a login button and an absent cookie that last are logged out, complete or not",
     loading(dom_out=BUTTON, cookie=False), 2, False, OUT, None, "dom", f"visible: {BUTTON}"),
    ("a login button that lasts is logged out where the cookie is unknown",
     facts(dom_out=BUTTON), 2, False, OUT, None, "dom", f"visible: {BUTTON}"),
    ("a login button does not outweigh a living cookie",
     facts(dom_out=BUTTON, cookie=True), LAST, True, UNSURE, Doubt.CONFLICT, "dom", "login cookie: present"),
    ("a login button of a page that is still loading is a slow page",
     loading(dom_out=BUTTON, cookie=True), LAST, True, UNSURE, Doubt.SLOW, "none", f"visible: {BUTTON}"),
    ("an expired session on a page that never completes is not believed alone",
     loading(**INFO_OUT), LAST, True, UNSURE, Doubt.SLOW, "none", "session expired"),
    ("a time shorter than the grace is no reason to believe a lone sign",
     facts(state_login=False), 1, True, UNSURE, Doubt.NO_EVIDENCE, "none", "page state: no user"),
    # -- cookie, keyring, network
    ("an absent cookie alone is silence, however long",
     facts(cookie=False), 60, True, UNSURE, Doubt.NO_EVIDENCE, "none", "login cookie: absent"),
    ("cookies lost without the keyring are no logout",
     facts(**INFO_OUT, state_login=False, cookie=False, keyring_lost=True), 0.3, False,
     UNSURE, Doubt.KEYRING, "info", "cookies: lost without the keyring"),
    ("a lost keyring does not matter where the page is logged in",
     facts(**INFO_IN, keyring_lost=True), 0.3, False, IN, None, "info", "200, a user"),
    ("a name that is not found is no logout",
     LoginFacts(load_error="net::ERR_NAME_NOT_RESOLVED", cookie=False), 0.1, False,
     UNSURE, Doubt.UNREACHABLE, "page", "net::ERR_NAME_NOT_RESOLVED"),
    ("nothing at all is slow", LoginFacts(), LAST, True, UNSURE, Doubt.SLOW, "none", "after 8.0 s"),
]  # fmt: skip


def described(verdict: Verdict | None) -> tuple[Login, Doubt | None, str]:
    assert verdict is not None
    return verdict.login, verdict.reason, verdict.method


@pytest.mark.parametrize(
    ("seen", "seconds", "is_last", "login", "reason", "method", "evidence"),
    [pytest.param(*row[1:], id=row[0]) for row in ROWS],
)
def test_the_verdict_is(
    seen: LoginFacts,
    seconds: float,
    is_last: bool,
    login: Login,
    reason: Doubt | None,
    method: str,
    evidence: str,
) -> None:
    verdict = judge(seen, seconds, RULES, is_last=is_last)

    assert described(verdict) == (login, reason, method)
    assert evidence in " | ".join(verdict.evidence if verdict else ())


@pytest.mark.parametrize(
    ("seen", "seconds"),
    [
        pytest.param(LoginFacts(), 60, id="nothing seen"),
        pytest.param(loading(cookie=True), 60, id="a page that is loading"),
        pytest.param(loading(is_on_site=False, host="example.com"), 1, id="on the way over another host"),
        pytest.param(facts(**INFO_OUT, state_login=True), 7.9, id="page and call in conflict"),
        pytest.param(facts(**INFO_IN, state_login=False), 7.9, id="call and page in conflict"),
        pytest.param(facts(state_login=True, cookie=True), 0.4, id="a user in the page, the call under way"),
        pytest.param(facts(state_login=True, info_status=200), 0.4, id="the call's body still to come"),
        pytest.param(facts(dom_in=AVATAR, cookie=True), 0.4, id="an avatar, the call under way"),
        pytest.param(facts(dom_out=BUTTON, cookie=False), 1.9, id="a button and no cookie within the grace"),
        pytest.param(facts(dom_out=BUTTON), 1.9, id="a button within the grace"),
        pytest.param(facts(dom_out=BUTTON, cookie=True), 7.9, id="a button beside a living cookie"),
        pytest.param(facts(**INFO_OUT), 1.9, id="an expired session alone within the grace"),
        pytest.param(loading(**INFO_OUT), 7.9, id="an expired session alone on a page that is loading"),
        pytest.param(facts(state_login=False), 1.9, id="no user in the page within the grace"),
        pytest.param(
            facts(state_login=False, dom_out=BUTTON, cookie=True), 1.9, id="one document's two signs"
        ),
        pytest.param(facts(is_login_page=True, cookie=True), 1.9, id="a redirect within the grace"),
        pytest.param(facts(info_status=403, cookie=False), 1.9, id="a 403 and no cookie within the grace"),
        pytest.param(
            facts(info_status=403, dom_out=BUTTON, cookie=True), 7.9, id="a 403 and a living cookie"
        ),
        pytest.param(facts(info_status=429), 7.9, id="a 429 for the call"),
        pytest.param(facts(cookie=False), 7.9, id="an absent cookie alone"),
    ],
)
def test_more_is_waited_for_with(seen: LoginFacts, seconds: float) -> None:
    assert judge(seen, seconds, RULES, is_last=False) is None


def test_the_table_has_a_row_for_every_doubt_that_a_page_can_raise() -> None:
    assert {row[5] for row in ROWS} == {None, *Doubt} - {Doubt.BROWSER}  # that one is the driver's to tell


# -- facts over time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cookie", "swap_s"), [(True, 0.6), (True, 1.9), (True, 5.0), (None, 0.6), (None, 1.9)]
)
def test_a_skeleton_that_gets_its_avatar_is_never_called_logged_out(
    cookie: bool | None, swap_s: float
) -> None:
    said = []
    for tick in range(160):
        seconds = tick * 0.05
        seen = facts(dom_out=BUTTON, cookie=cookie)
        if seconds >= swap_s:
            seen = facts(dom_in=AVATAR, cookie=cookie)
        said.append(judge(seen, seconds, RULES, is_last=False))

    assert {verdict.login for verdict in said if verdict} == {IN}


def test_a_conflict_is_one_whichever_source_comes_first() -> None:
    page_first = [loading(state_login=True), facts(state_login=True), facts(state_login=True, **INFO_OUT)]
    call_first = [loading(**INFO_OUT), facts(**INFO_OUT), facts(**INFO_OUT, state_login=True)]

    for steps in (page_first, call_first):
        said = [judge(seen, 0.1 * step, RULES, is_last=False) for step, seen in enumerate(steps)]

        assert said == [None, None, None]


@pytest.mark.parametrize("seen", [facts(state_login=False), facts(dom_out=BUTTON), facts(info_status=401)])
def test_the_grace_counts_from_when_the_sign_was_seen_and_not_from_when_the_page_came(
    seen: LoginFacts,
) -> None:
    said = [judge(seen, 2.6 + age_s, RULES, is_last=False, sign_age_s=age_s) for age_s in (0, 1.9, 2.0)]

    assert [verdict and verdict.login for verdict in said] == [None, None, OUT]


def test_a_lone_sign_waits_for_an_info_call_that_is_under_way() -> None:
    seen = facts(state_login=False, cookie=True, info_pending=True)

    assert judge(seen, 3, RULES, is_last=False) is None
    assert described(judge(seen, LAST, RULES, is_last=True)) == (OUT, None, "page_state")


def test_two_witnesses_wait_for_nothing() -> None:
    verdict = judge(
        facts(state_login=False, cookie=False, info_pending=True), 0.1, RULES, is_last=False, sign_age_s=0
    )

    assert described(verdict) == (OUT, None, "page_state")


@given(st.booleans(), st.booleans())
def test_a_page_that_is_being_left_never_says_logged_out(complete: bool, is_last: bool) -> None:
    left = replace(facts(**INFO_OUT, state_login=False, is_login_page=True, cookie=False), page_status=None)
    for rules in (RULES, COOKIE_DECIDES):
        verdict = judge(replace(left, is_complete=complete), 60, rules, is_last=is_last)

        assert verdict is None or verdict.login is UNSURE


def test_what_a_page_showed_is_forgotten_when_it_is_left() -> None:
    page = facts(
        **INFO_OUT, state_login=False, is_login_page=True, dom_in=AVATAR, dom_out=BUTTON, challenge=CAPTCHA, cookie=True,
        keyring_lost=True, info_pending=True, load_error="net::ERR_FAILED",
    )  # fmt: skip

    assert without_page(page) == LoginFacts(**INFO_OUT, info_pending=True, cookie=True, keyring_lost=True)


def test_the_signs_of_a_logout_are_told_by_their_sources() -> None:
    seen = facts(**INFO_OUT, state_login=True, dom_out=BUTTON, cookie=False)

    assert negative_signs(seen) == {"info", "dom", "cookie"}


# -- rules ---------------------------------------------------------------------------------------------------


def test_an_absent_cookie_decides_at_once_where_it_may() -> None:
    verdict = judge(loading(cookie=False), 0, COOKIE_DECIDES, is_last=False)

    assert described(verdict) == (OUT, None, "cookie")
    assert verdict is not None
    assert verdict.evidence == ("login cookie: absent",)


@pytest.mark.parametrize("seen", [facts(**INFO_IN, cookie=False), facts(state_login=True, cookie=False)])
def test_an_absent_cookie_never_decides_against_a_user(seen: LoginFacts) -> None:
    for seconds in (0, 1):
        verdict = judge(seen, seconds, COOKIE_DECIDES, is_last=False)

        assert verdict is None or verdict.login is IN


def test_an_absent_cookie_that_may_decide_is_no_logout_without_the_keyring() -> None:
    verdict = judge(facts(cookie=False, keyring_lost=True), 0, COOKIE_DECIDES, is_last=False)

    assert described(verdict) == (UNSURE, Doubt.KEYRING, "cookie")


def test_a_present_cookie_decides_nothing() -> None:
    assert judge(facts(cookie=True), 5, COOKIE_DECIDES, is_last=False) is None


@pytest.mark.parametrize("seen", [facts(state_login=True, info_pending=True), loading(state_login=True)])
def test_a_user_on_the_page_waits_for_a_call_that_may_contradict(seen: LoginFacts) -> None:
    said = [judge(seen, seconds, RULES, is_last=False) for seconds in (0.5, 1.9, 2.0)]

    assert [verdict and verdict.login for verdict in said] == [None, None, IN]


def test_without_grace_a_lone_sign_is_believed_at_once() -> None:
    assert described(judge(facts(dom_out=BUTTON), 0, LoginRules(grace_s=0), is_last=False))[0] is OUT


def test_the_user_is_named_only_where_somebody_is_logged_in() -> None:
    logged_in = judge(facts(**INFO_IN, username="sam"), 0.1, RULES, is_last=True)
    conflict = judge(facts(**INFO_IN, state_login=False, username="sam"), 0.1, RULES, is_last=True)

    assert [verdict and verdict.username for verdict in (logged_in, conflict)] == ["sam", None]


# -- looking once more ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", list(Doubt))
def test_the_page_is_loaded_again_only_where_that_may_help(reason: Doubt) -> None:
    helps = {Doubt.SLOW, Doubt.NO_EVIDENCE, Doubt.CONFLICT, Doubt.UNREACHABLE, Doubt.SERVER_ERROR}
    verdict = Verdict(login=UNSURE, reason=reason, method="page", evidence=("x",))

    assert may_reload(verdict) is (reason in helps)


@pytest.mark.parametrize("login", [IN, OUT])
def test_a_certain_verdict_is_not_looked_for_again(login: Login) -> None:
    assert not may_reload(Verdict(login=login, method="info", evidence=("x",)))


@pytest.mark.parametrize("status", [403, 429])
def test_a_call_that_was_refused_is_not_made_again_by_a_reload(status: int) -> None:
    verdict = judge(facts(info_status=status, cookie=True), LAST, RULES, is_last=True)

    assert verdict is not None
    assert not may_reload(verdict)


# -- whatever was seen ---------------------------------------------------------------------------------------

MAYBE = st.sampled_from([None, True, False])
STATUSES = st.sampled_from([None, 200, 204, 302, 401, 403, 404, 429, 500, 503])
ANY_FACTS = st.builds(
    LoginFacts,
    page_status=STATUSES, load_error=st.sampled_from([None, None, "net::ERR_FAILED"]), is_complete=st.booleans(),
    host=st.sampled_from(["", "www.tiktok.com", "example.com"]), path=st.just("/@canary-path"),
    is_on_site=st.sampled_from([True, True, True, False]), is_login_page=st.sampled_from([False, False, True]),
    cookie=MAYBE, info_status=STATUSES, info_login=MAYBE, state_login=MAYBE,
    dom_in=st.sampled_from([None, AVATAR]), dom_out=st.sampled_from([None, BUTTON]),
    challenge=st.sampled_from([None, None, None, CAPTCHA]), username=st.sampled_from([None, "canary-name"]),
    keyring_lost=st.booleans(), info_pending=st.booleans(),
)  # fmt: skip
PLAIN = {"page_status": 200, "load_error": None, "is_on_site": True, "challenge": None}
ANY_RULES = st.builds(
    LoginRules,
    grace_s=st.sampled_from([0.0, 2.0, 5.0]), confirm_s=st.sampled_from([0.0, 0.5]),
    cookie_absent_decides=st.booleans(),
)  # fmt: skip
SECONDS = st.floats(0, 20)
WORDS = {
    f"visible: {AVATAR}", f"visible: {BUTTON}", f"visible: {CAPTCHA}", "page: net::ERR_FAILED",
    "page state: a user", "page state: no user", "sent to the login page", "login cookie: present",
    "login cookie: absent", "cookies: lost without the keyring",
}  # fmt: skip
OPENINGS = (
    "account info call: ", "page: status ", "page: on another host, ", "page not complete after ",
    "page tells too little after ",
)  # fmt: skip


@given(SECONDS, st.booleans(), st.sampled_from([RULES, COOKIE_DECIDES]), st.booleans())
def test_silence_is_never_a_logout(seconds: float, is_last: bool, rules: LoginRules, complete: bool) -> None:
    verdict = judge(LoginFacts(is_complete=complete), seconds, rules, is_last=is_last)

    assert verdict is None or verdict.login is UNSURE


@given(ANY_FACTS, SECONDS, ANY_RULES, st.booleans())
def test_a_challenge_always_stops(seen: LoginFacts, seconds: float, rules: LoginRules, is_last: bool) -> None:
    verdict = judge(replace(seen, challenge=CAPTCHA), seconds, rules, is_last=is_last)

    assert described(verdict) == (UNSURE, Doubt.CHALLENGE, "challenge")


@given(ANY_FACTS, SECONDS, ANY_RULES)
def test_the_last_look_always_answers(seen: LoginFacts, seconds: float, rules: LoginRules) -> None:
    assert judge(seen, seconds, rules, is_last=True) is not None


@given(ANY_FACTS, SECONDS, ANY_RULES)
def test_an_early_answer_is_also_the_last_one(seen: LoginFacts, seconds: float, rules: LoginRules) -> None:
    early = judge(seen, seconds, rules, is_last=False)

    assert early in {None, judge(seen, seconds, rules, is_last=True)}


@given(ANY_FACTS, st.lists(SECONDS, min_size=2, max_size=6), ANY_RULES)
def test_an_answer_stands_while_nothing_new_is_seen(
    seen: LoginFacts, moments: list[float], rules: LoginRules
) -> None:
    said = [judge(seen, seconds, rules, is_last=False) for seconds in sorted(moments)]

    assert all(earlier in {None, later} for earlier, later in pairwise(said))


@given(ANY_FACTS, SECONDS, ANY_RULES, st.booleans())
def test_every_verdict_has_evidence_in_known_words_only(
    seen: LoginFacts, seconds: float, rules: LoginRules, is_last: bool
) -> None:
    verdict = judge(seen, seconds, rules, is_last=is_last)

    if verdict is not None:
        assert verdict.evidence
        assert [
            text for text in verdict.evidence if text not in WORDS and not text.startswith(OPENINGS)
        ] == []
        assert "canary" not in " ".join(verdict.evidence)


@given(ANY_FACTS, SECONDS, ANY_RULES, st.booleans())
def test_a_reason_is_given_for_doubt_and_only_for_doubt(
    seen: LoginFacts, seconds: float, rules: LoginRules, is_last: bool
) -> None:
    verdict = judge(seen, seconds, rules, is_last=is_last)

    assert verdict is None or (verdict.login is UNSURE) == (verdict.reason is not None)


@given(ANY_FACTS, SECONDS, ANY_RULES, st.booleans())
def test_a_lost_keyring_is_never_a_logout(
    seen: LoginFacts, seconds: float, rules: LoginRules, is_last: bool
) -> None:
    verdict = judge(replace(seen, keyring_lost=True), seconds, rules, is_last=is_last)

    assert verdict is None or verdict.login is not OUT


@given(ANY_FACTS, SECONDS, ANY_RULES, st.booleans())
def test_whoever_is_seen_by_the_server_is_never_called_logged_out(
    seen: LoginFacts, seconds: float, rules: LoginRules, is_last: bool
) -> None:
    for known in (replace(seen, **PLAIN, info_login=True), replace(seen, **PLAIN, state_login=True)):
        verdict = judge(known, seconds, rules, is_last=is_last)

        assert verdict is None or verdict.login is not OUT


@given(ANY_FACTS, SECONDS, st.booleans())
def test_a_living_cookie_is_outweighed_only_by_the_server(
    seen: LoginFacts, seconds: float, is_last: bool
) -> None:
    by_looks = replace(
        seen, **PLAIN, cookie=True, info_login=None, info_status=403, state_login=None, is_login_page=False
    )

    verdict = judge(by_looks, seconds, COOKIE_DECIDES, is_last=is_last)

    assert verdict is None or verdict.login is not OUT


@given(ANY_FACTS, SECONDS, ANY_RULES, st.booleans())
def test_nobody_is_logged_in_by_a_cookie(
    seen: LoginFacts, seconds: float, rules: LoginRules, is_last: bool
) -> None:
    bare = replace(seen, cookie=True, info_login=None, state_login=None, dom_in=None)

    verdict = judge(bare, seconds, rules, is_last=is_last)

    assert verdict is None or verdict.login is not IN
