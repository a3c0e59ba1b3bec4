"""Is this page logged in? Facts in, a verdict with its evidence out; nobody is ever called logged out by silence.

In this order:

1. A challenge, a page that cannot be loaded, another host, an error page: uncertain, and nothing else counts.
2. A user in the account-info call or in the page state: logged in. A visible avatar, too, where nothing speaks
   against it. Without the info call's word it has `confirm_s` to come, and `grace_s` while the page is still loading or
   the call is under way: a busy machine is slow to make it, and it may say that the session has expired.
3. Logged out needs two witnesses that do not copy from each other: the info call, the page, the missing cookie.
   One alone, or the login button, must stand for `grace_s`, counted from when the signs of a logout were last other
   than they are now, and waits for an info call that is under way. A living cookie outweighs the button, and a 403,
   which may as well be a guard's as the account's. A page that is being left testifies to nothing.
4. Signs that contradict each other wait for the end of the time, and are then a conflict.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

_OK = 200
_ERRORS = 400
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_TOO_MANY = 429
_SERVER_ERRORS = 500
_HOST_SHOWN = 100
_SERVER_WORDS = {"info", "page_state"}  # what the server itself says about the account


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
    RATE_LIMITED = "rate_limited"  # 429, for the page or for the info call of a page that tells nothing
    REFUSED = "refused"  # 4xx for the page itself, or a 403 for the info call that nothing confirms
    SERVER_ERROR = "server_error"  # 5xx
    OFF_SITE = "off_site"  # the page went to another host
    KEYRING = "keyring"  # the cookies could not be decrypted: that is no logout
    BROWSER = "browser"  # the browser did not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFacts:
    """What has been seen on the page up to now. None means: not seen yet. No cookie value, no body is in here."""

    page_status: int | None = None  # HTTP status of the document; None, too, while another one is on its way
    load_error: str | None = None  # such as net::ERR_NAME_NOT_RESOLVED
    is_complete: bool = False  # document.readyState
    host: str = ""
    path: str = ""
    is_on_site: bool = True  # the host is one of ours, or nothing has been loaded yet
    is_login_page: bool = False  # the site has sent us to its login page
    cookie: bool | None = None  # one of the login cookies is there
    info_status: int | None = None  # HTTP status of the account-info call
    info_login: bool | None = None  # what its body says
    info_pending: bool = False  # it has been made and is not answered in full
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
    confirm_s: float = 0.5  # a page that shows a user waits so long for the info call to contradict it
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


def judge(
    facts: LoginFacts,
    elapsed_s: float,
    rules: LoginRules,
    *,
    is_last: bool,
    sign_age_s: float | None = None,
    looked_s: float | None = None,
) -> Verdict | None:
    """Return the verdict; None while more may come, which `is_last` ends. Pure: same arguments, same verdict.

    `elapsed_s` counts from when there is a page; `sign_age_s` from when `negative_signs` last changed, and `looked_s`,
    which the evidence names, from the first look on. Where these are not given they are as much.
    """
    if (stop := _stop(facts)) is not None:
        return stop
    if not facts.is_on_site:  # on the way back, perhaps: redirects pass through other hosts
        return _off_site(facts) if facts.is_complete or is_last else None
    if (trouble := _trouble(facts)) is not None:
        return trouble
    signs = _signs(facts)
    verdict = _positive(facts, signs, is_settled=is_last or _is_settled(facts, elapsed_s, rules))
    if verdict is None:
        age_s = elapsed_s if sign_age_s is None else sign_age_s
        has_lasted = age_s >= rules.grace_s and (is_last or not facts.info_pending)
        verdict = _negative(facts, signs, rules, has_lasted=has_lasted)
    if verdict is None and is_last:
        verdict = _doubt(facts, signs, elapsed_s if looked_s is None else looked_s)
    return verdict


def negative_signs(facts: LoginFacts) -> frozenset[str]:
    """Return the sources that speak for a logout at this moment."""
    return frozenset(_sources(_signs(facts), says=False))


def without_page(facts: LoginFacts) -> LoginFacts:
    """Return what still holds when the page is left: what the account's own call, cookie and keyring say."""
    return LoginFacts(
        cookie=facts.cookie, info_status=facts.info_status, info_login=facts.info_login,
        info_pending=facts.info_pending, username=facts.username, keyring_lost=facts.keyring_lost,
    )  # fmt: skip


def may_reload(verdict: Verdict) -> bool:
    """Tell whether looking once more may help: never where the site asks for a person or for patience.

    Nor off the site: that page may be where the person went.
    """
    return verdict.reason in {
        Doubt.CONFLICT,
        Doubt.SLOW,
        Doubt.NO_EVIDENCE,
        Doubt.UNREACHABLE,
        Doubt.SERVER_ERROR,
    }


class _Sign(NamedTuple):
    """What one source says: True for in, False for out, None for nothing by itself."""

    source: str
    says: bool | None
    text: str


def _uncertain(reason: Doubt, method: str, *evidence: str) -> Verdict:
    return Verdict(login=Login.UNCERTAIN, reason=reason, method=method, evidence=evidence)


# -- what ends the question --------------------------------------------------------------------------------------


def _stop(facts: LoginFacts) -> Verdict | None:
    if facts.challenge:
        return _uncertain(Doubt.CHALLENGE, "challenge", f"visible: {facts.challenge}")
    if facts.load_error:
        return _uncertain(Doubt.UNREACHABLE, "page", f"page: {facts.load_error}")
    return None


def _off_site(facts: LoginFacts) -> Verdict:
    return _uncertain(
        Doubt.OFF_SITE, "page", f"page: on another host, {facts.host[:_HOST_SHOWN] or 'unknown'}"
    )


def _trouble(facts: LoginFacts) -> Verdict | None:
    status = facts.page_status
    if status is None or status < _ERRORS:
        return None
    if status >= _SERVER_ERRORS:
        reason = Doubt.SERVER_ERROR
    elif status == _TOO_MANY:
        reason = Doubt.RATE_LIMITED
    else:  # any other 4xx, too, is a no to this very page: asking again will not change it
        reason = Doubt.REFUSED
    return _uncertain(reason, "page", f"page: status {status}")


# -- signs -------------------------------------------------------------------------------------------------------


def _signs(facts: LoginFacts) -> tuple[_Sign, ...]:
    """Return all that was seen, the strongest source first."""
    signs = [_info_sign(facts)]
    if facts.state_login is not None:
        text = "page state: a user" if facts.state_login else "page state: no user"
        signs.append(_Sign("page_state", facts.state_login, text))
    if facts.is_login_page:
        signs.append(_Sign("redirect", says=False, text="sent to the login page"))
    if facts.dom_in:
        signs.append(_Sign("dom", says=True, text=f"visible: {facts.dom_in}"))
    if facts.dom_out:
        signs.append(_Sign("dom", says=False, text=f"visible: {facts.dom_out}"))
    if facts.cookie is not None:
        # Its presence proves nothing: the site may have ended the session.
        text = "login cookie: present" if facts.cookie else "login cookie: absent"
        signs.append(_Sign("cookie", None if facts.cookie else False, text))
    return tuple(sign for sign in signs if sign is not None)


def _info_sign(facts: LoginFacts) -> _Sign | None:
    call, status = "account info call", facts.info_status
    if facts.info_login is True:
        return _Sign(
            "info", says=True, text=f"{call}: a user" if status is None else f"{call}: {status}, a user"
        )
    if facts.info_login is False:
        return _Sign("info", says=False, text=f"{call}: session expired")
    if status is None:
        return None
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return _Sign("info", says=False, text=f"{call}: status {status}")
    return _Sign("info", says=None, text=f"{call}: status {status}, says nothing")


def _sources(signs: tuple[_Sign, ...], *, says: bool) -> set[str]:
    return {sign.source for sign in signs if sign.says is says}


def _is_contradicted(signs: tuple[_Sign, ...]) -> bool:
    """Tell whether something that counts speaks against a sign of being logged in."""
    ins, outs = _sources(signs, says=True), _sources(signs, says=False)
    if ins & _SERVER_WORDS:  # a shell's login button and a renamed cookie do not count against these
        return bool(outs & (_SERVER_WORDS | {"redirect"}))
    return bool(ins and outs)


# -- answers -----------------------------------------------------------------------------------------------------


def _is_settled(facts: LoginFacts, elapsed_s: float, rules: LoginRules) -> bool:
    """Tell whether the info call's word is not to be waited for any more. With 200 its body is still to come."""
    is_quiet = facts.is_complete and not facts.info_pending
    patience_s = rules.confirm_s if is_quiet else max(rules.confirm_s, rules.grace_s)
    return elapsed_s >= patience_s or facts.info_status not in {None, _OK}


def _positive(facts: LoginFacts, signs: tuple[_Sign, ...], *, is_settled: bool) -> Verdict | None:
    ins = [sign for sign in signs if sign.says]
    if not ins or _is_contradicted(signs) or not (is_settled or facts.info_login):
        return None
    return Verdict(
        login=Login.LOGGED_IN,
        method=ins[0].source,
        evidence=tuple(sign.text for sign in ins),
        username=facts.username,
    )


def _negative(
    facts: LoginFacts, signs: tuple[_Sign, ...], rules: LoginRules, *, has_lasted: bool
) -> Verdict | None:
    ins = _sources(signs, says=True)
    if ins & _SERVER_WORDS or facts.page_status is None:
        return None
    outs = [sign for sign in signs if sign.says is False]
    if rules.cookie_absent_decides and facts.cookie is False:
        return _logged_out(facts, outs[-1:])  # the cookie is the last of the signs
    if ins or not _is_enough(facts, has_lasted=has_lasted):
        return None
    return _logged_out(facts, outs)


def _is_enough(facts: LoginFacts, *, has_lasted: bool) -> bool:
    """Tell whether the signs of being logged out suffice, now that nothing says the contrary."""
    refused = facts.info_login is None and facts.info_status == _FORBIDDEN
    told = facts.info_login is False or (facts.info_login is None and facts.info_status == _UNAUTHORIZED)
    shown = facts.state_login is False or facts.is_login_page
    button = bool(facts.dom_out)
    absent = facts.cookie is False
    # Page state, redirect and button are one witness: they come with one document, which may be a shell.
    if (told and (shown or button or absent)) or (shown and absent):
        return True
    if absent:
        return has_lasted and (button or refused)
    is_alone_enough = told or shown or (button and facts.cookie is None)
    return has_lasted and facts.is_complete and is_alone_enough


def _logged_out(facts: LoginFacts, outs: list[_Sign]) -> Verdict:
    verdict = Verdict(
        login=Login.LOGGED_OUT, method=outs[0].source, evidence=tuple(sign.text for sign in outs)
    )
    if facts.keyring_lost:
        lost = "cookies: lost without the keyring"
        return replace(
            verdict, login=Login.UNCERTAIN, reason=Doubt.KEYRING, evidence=(*verdict.evidence, lost)
        )
    return verdict


def _doubt(facts: LoginFacts, signs: tuple[_Sign, ...], looked_s: float) -> Verdict:
    """Say why nobody can tell; the time is over."""
    seen = tuple(sign.text for sign in signs)
    if facts.info_login is None and facts.info_status == _TOO_MANY:
        return _uncertain(Doubt.RATE_LIMITED, "info", *seen)
    if _is_contradicted(signs):
        strongest = next(sign for sign in signs if sign.says is not None)
        return _uncertain(Doubt.CONFLICT, strongest.source, *seen)
    if facts.info_login is None and facts.info_status == _FORBIDDEN:
        return _uncertain(Doubt.REFUSED, "info", *seen)
    if not facts.is_complete:
        return _uncertain(Doubt.SLOW, "none", f"page not complete after {looked_s:.1f} s", *seen)
    if facts.dom_out and facts.cookie:
        return _uncertain(Doubt.CONFLICT, "dom", *seen)
    return _uncertain(Doubt.NO_EVIDENCE, "none", f"page tells too little after {looked_s:.1f} s", *seen)


def stays_open(verdict: Verdict, *, require_login: bool, keep_uncertain: bool, headless: bool) -> bool:
    """Tell whether the window is handed over.

    A challenge leaves the window to the person, who alone may answer it; without a window there is nobody.
    """
    if not require_login or verdict.login is Login.LOGGED_IN:
        return True
    if verdict.reason is Doubt.CHALLENGE and not headless:
        return True
    return verdict.login is Login.UNCERTAIN and keep_uncertain
