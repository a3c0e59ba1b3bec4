"""Is this page logged in? Facts in, a verdict with its evidence out; nobody is ever called logged out by silence."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Login(StrEnum):
    """The three answers."""

    LOGGED_IN = "logged_in"
    LOGGED_OUT = "logged_out"
    UNCERTAIN = "uncertain"


class Doubt(StrEnum):
    """Why nobody can tell."""

    CHALLENGE = "challenge"  # a captcha or another question for the person: tokd stops and tells them
    CONFLICT = "conflict"  # two strong sources disagree
    SLOW = "slow"  # the page did not come in time
    NO_EVIDENCE = "no_evidence"  # the page came and says nothing either way
    UNREACHABLE = "unreachable"  # the network or the site is down
    RATE_LIMITED = "rate_limited"  # 429
    REFUSED = "refused"  # 401 or 403 for the page itself
    SERVER_ERROR = "server_error"  # 5xx
    OFF_SITE = "off_site"  # the page went to another host
    KEYRING = "keyring"  # the cookies could not be decrypted: that is no logout
    BROWSER = "browser"  # the browser did not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFacts:
    """What has been seen on the page up to now. None means: not seen yet. No cookie value, no body is in here."""

    page_status: int | None = None  # HTTP status of the document
    load_error: str | None = None  # such as net::ERR_NAME_NOT_RESOLVED
    is_complete: bool = False  # document.readyState
    host: str = ""
    path: str = ""
    is_on_site: bool = True  # the host is one of ours, or nothing has been loaded yet
    is_login_page: bool = False  # the site has sent us to its login page
    cookie: bool | None = None  # one of the login cookies is there
    info_status: int | None = None  # HTTP status of the account-info call
    info_login: bool | None = None  # what its body says
    state_login: bool | None = None  # what the page-state JSON says
    dom_in: str | None = None  # the visible marker, as it stands in the configuration
    dom_out: str | None = None
    challenge: str | None = None
    username: str | None = None
    keyring_lost: bool = False  # encrypted cookies vanished when the browser opened the profile


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRules:
    """How long a negative must last, and what may cut it short."""

    grace_s: float = 2.0  # a skeleton page shows the login button before the avatar
    cookie_absent_decides: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer, what decided it, and how long it took."""

    login: Login
    method: str  # the source that decided: info, page_state, dom, cookie, redirect, page, challenge, none
    evidence: tuple[str, ...]
    reason: Doubt | None = None  # with uncertain only
    ms: int = 0
    username: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as it stands in events and states."""
        view: dict[str, Any] = {
            "state": self.login.value,
            "method": self.method,
            "evidence": list(self.evidence),
            "ms": self.ms,
        }
        if self.reason is not None:
            view["reason"] = self.reason.value
        if self.username:
            view["username"] = self.username
        return view


def judge(facts: LoginFacts, elapsed_s: float, rules: LoginRules, *, is_last: bool) -> Verdict | None:
    """Return the verdict; None while more may come, which `is_last` ends. Pure: same facts, same verdict."""
    raise NotImplementedError


def may_reload(verdict: Verdict) -> bool:
    """Tell whether looking once more may help: never where the site asks for a person or for patience."""
    raise NotImplementedError


def stays_open(verdict: Verdict, *, require_login: bool, keep_uncertain: bool, headless: bool) -> bool:
    """Tell whether the window is handed over.

    A challenge leaves the window to the person, who alone may answer it; without a window there is nobody.
    """
    if not require_login or verdict.login is Login.LOGGED_IN:
        return True
    if verdict.reason is Doubt.CHALLENGE and not headless:
        return True
    return verdict.login is Login.UNCERTAIN and keep_uncertain
