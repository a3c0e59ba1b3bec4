"""What a real Chromium sees on each page of the simulated site once the page has settled, and what that comes to.

tests/integration/test_browser_reading.py looks at the pages and finds these facts; the verdict's table is made of them,
too. Times are in the verdict's words only where the end of the time decides.
"""

from dataclasses import dataclass
from typing import Any

from daemon.domain.login import Doubt, Login, LoginFacts

AVATAR = '[data-e2e="profile-icon"]'
BUTTON = '[data-e2e="top-login-button"]'
CAPTCHA = "#captcha-verify-container-main-page"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A page (`?page=` and more), whether a member looks at it, what is seen, and the verdict over that."""

    page: str
    more: str = ""
    is_member: bool = False
    facts: LoginFacts
    login: Login
    reason: Doubt | None = None
    method: str
    evidence: str  # a part of it

    @property
    def query(self) -> str:
        return f"?page={self.page}{self.more}"


def _facts(**seen: Any) -> LoginFacts:
    usual = {"page_status": 200, "is_complete": True, "host": "127.0.0.1", "path": "/", "cookie": False}
    return LoginFacts(**(usual | seen))


_USER = {"info_status": 200, "info_login": True, "username": "demo_creator"}
_EXPIRED = {"info_status": 200, "info_login": False}
_MEMBER = _facts(**_USER, state_login=True, dom_in=AVATAR, cookie=True)
_GUEST = _facts(**_EXPIRED, state_login=False, dom_out=BUTTON)


def _in(page: str, facts: LoginFacts, **more: Any) -> Saved:
    return Saved(page=page, facts=facts, login=Login.LOGGED_IN, method="info", evidence="200, a user", **more)


def _out(page: str, facts: LoginFacts, **more: Any) -> Saved:
    usual = {"method": "info", "evidence": "account info call: session expired"}
    return Saved(page=page, facts=facts, login=Login.LOGGED_OUT, **(usual | more))


def _unsure(page: str, facts: LoginFacts, reason: Doubt, evidence: str, **more: Any) -> Saved:
    usual: dict[str, Any] = {"method": "page"}
    return Saved(
        page=page, facts=facts, login=Login.UNCERTAIN, reason=reason, evidence=evidence, **(usual | more)
    )


SAVED = {
    "a member's home": _in("auto", _MEMBER, is_member=True),
    "a guest's home": _out("auto", _GUEST),
    "logged in by force": _in("logged_in", _facts(**_USER, state_login=True, dom_in=AVATAR)),
    "logged out by force": _out("logged_out", _facts(**_EXPIRED, state_login=False, dom_out=BUTTON, cookie=True),
                                is_member=True),
    "slow, but in time": _in("slow", _MEMBER, more="&delay_ms=300", is_member=True),
    "slow, and not in time": _unsure("slow", LoginFacts(cookie=True), Doubt.SLOW, "not complete after 8.0 s",
                                     more="&delay_ms=9000", is_member=True, method="none"),
    "a member's skeleton": _in("skeleton", _facts(**_USER, dom_in=AVATAR, cookie=True), is_member=True),
    "a guest's skeleton": _out("skeleton", _facts(**_EXPIRED, dom_out=BUTTON)),
    "neither": _unsure("neither", _facts(cookie=True), Doubt.NO_EVIDENCE, "tells too little after 8.0 s",
                       is_member=True, method="none"),
    "a challenge": _unsure("challenge", _facts(challenge=CAPTCHA, cookie=True), Doubt.CHALLENGE, CAPTCHA, is_member=True,
                           method="challenge"),
    "a conflict": _unsure("conflict", _facts(**_EXPIRED, state_login=True, dom_in=AVATAR, cookie=True,
                                             username="demo_creator"),
                          Doubt.CONFLICT, "page state: a user", is_member=True, method="info"),
    "401": _unsure("401", _facts(page_status=401), Doubt.REFUSED, "page: status 401"),
    "403": _unsure("403", _facts(page_status=403), Doubt.REFUSED, "page: status 403"),
    "429": _unsure("429", _facts(page_status=429), Doubt.RATE_LIMITED, "page: status 429"),
    "500": _unsure("500", _facts(page_status=500), Doubt.SERVER_ERROR, "page: status 500"),
    "off the site": _unsure("off_site", _facts(host="localhost", path="/elsewhere", is_on_site=False), Doubt.OFF_SITE,
                            "page: on another host, localhost"),
    "led to the login page": _out("to_login", _facts(path="/login", is_login_page=True), method="redirect",
                                  evidence="sent to the login page"),
}  # fmt: skip
