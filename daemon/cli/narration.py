"""What the events of a browser session say to a person: one sentence each, the same in every command."""

from collections.abc import Callable, Mapping
from typing import Any

from daemon.cli.times import local_hour
from daemon.domain.events import EventType
from daemon.domain.login import Doubt, Login
from daemon.domain.session import EndReason, SessionKind

PREFIX = "dev.tokd."
Clock = Callable[[str], str]
Told = Mapping[str, Any]

_ENDS: dict[str, str] = {
    EndReason.CLOSED_BY_USER: "its window was closed",
    EndReason.TIMEOUT: "its time was over",
    EndReason.CLOSED_BY_COMMAND: "it was told to close",
    EndReason.LOGGED_OUT: "the profile is logged out",
    EndReason.UNCERTAIN: "nobody can tell whether the profile is logged in",
    EndReason.CRASHED: "the browser died",
    EndReason.DISPLAY_LOST: "the display went away",
    EndReason.ORPHANED: "tokd itself died while it was open",
    EndReason.SHUTDOWN: "tokd was stopped",
    EndReason.FAILED: "it could not be opened",
}
_DOUBTS: dict[str, str] = {
    Doubt.CHALLENGE: "the site asks for a person (a captcha or the like)",
    Doubt.CONFLICT: "the page contradicts itself",
    Doubt.SLOW: "the page did not come in time",
    Doubt.NO_EVIDENCE: "the page tells too little",
    Doubt.UNREACHABLE: "the page cannot be loaded",
    Doubt.RATE_LIMITED: "the site has had too many requests",
    Doubt.REFUSED: "the site refuses the page",
    Doubt.SERVER_ERROR: "the site has a fault",
    Doubt.OFF_SITE: "the page led to another site",
    Doubt.KEYRING: "the cookies could not be decrypted",
    Doubt.BROWSER: "the browser did not answer",
}
# Ends that somebody wanted.
_GOOD_ENDS = frozenset({EndReason.CLOSED_BY_USER, EndReason.TIMEOUT, EndReason.CLOSED_BY_COMMAND})
_LOGIN_STYLES: dict[str, str] = {Login.LOGGED_IN: "green", Login.LOGGED_OUT: "red", Login.UNCERTAIN: "yellow"}

_STYLES: dict[str, str] = {EventType.SESSION_OPENED: "green", EventType.SESSION_ENDING_SOON: "yellow"}


def kind_of(event: Told) -> str:
    """Return an event's type, such as session.opened."""
    return str(event.get("type", "")).removeprefix(PREFIX)


def sentence_of(event: Told, clock: Clock = local_hour) -> str | None:
    """Return what an event of a session says; None for an event of anything else. `clock` spells the times."""
    find = _SENTENCES.get(kind_of(event))
    return find(event.get("data") or {}, clock) if find is not None else None


def style_of(event: Told) -> str:
    """Return the colour of a session's event; nothing for those that are neither good nor bad."""
    data: Told = event.get("data") or {}
    kind = kind_of(event)
    if kind == EventType.SESSION_LOGIN_STATE:
        return _LOGIN_STYLES.get(data.get("state", ""), "")
    if kind == EventType.SESSION_ENDED:
        is_kept = not (data.get("promotion_error") or data.get("left_behind"))
        return "" if is_good_end(data) and is_kept else "red"
    return _STYLES.get(kind, "")


def is_good_end(data: Told) -> bool:
    """Tell whether a session ended because somebody wanted it, or because its time was over."""
    return data.get("reason") in _GOOD_ENDS


def login_of(verdict: Told) -> str:
    """Return a login state with its evidence and how long it took to find."""
    found = login_in_short(verdict)
    if verdict.get("state") == Login.UNCERTAIN:
        reason = str(verdict.get("reason", ""))
        found = f"login uncertain: {_DOUBTS.get(reason, reason)}"
    evidence = "; ".join(map(str, verdict.get("evidence") or ()))
    took = verdict.get("ms")
    return found + (f" ({evidence})" if evidence else "") + (f", {took / 1000:.1f} s" if took else "")


def login_in_short(verdict: Told) -> str:
    """Return a login state for a table."""
    found = str(verdict.get("state", "")).replace("_", " ")
    if verdict.get("username"):
        return f"{found} as {verdict['username']}"
    return f"{found}: {verdict['reason']}" if verdict.get("reason") else found


def end_of(data: Told) -> str:
    """Return why a session ended, from its event or from how it looks in a list."""
    reason = str(data.get("reason", "unknown"))
    error = data.get("error") or {}
    words = [f"ended ({reason}): {error.get('message') or _ENDS.get(reason, reason)}"]
    if data.get("seconds") is not None:
        words.append(f"after {data['seconds']:.0f} s")
    if data.get("promoted_to"):
        kept = data.get("backup")
        words.append(
            f"it is profile {data['promoted_to']} now" + (f", the old one is {kept}" if kept else "")
        )
    if data.get("promotion_error"):
        words.append(f"the profile was not replaced: {data['promotion_error']}")
    if data.get("kept_clone"):
        words.append(f"its clone is kept in {data['kept_clone']}")
    if data.get("left_behind"):
        words.append("some of its files could not be removed yet")
    return "; ".join(words)


def _requested(data: Told, _clock: Clock) -> str:
    if data.get("kind") == SessionKind.LOGIN:
        return f"opening profile {data.get('profile')} itself …"
    return f"cloning profile {data.get('profile')}, starting a browser …"


def _started(data: Told, _clock: Clock) -> str:
    window = ", without a window" if data.get("headless") else ""
    notes = "".join(f"; {warning}" for warning in data.get("warnings") or ())
    sandbox = "on" if data.get("sandbox") else "off"
    return f"browser {data.get('browser')} runs (sandbox {sandbox}){window}{notes}"


def _login(data: Told, _clock: Clock) -> str:
    return login_of(data)


def _opened(data: Told, clock: Clock) -> str:
    return f"open until {clock(data['ends_at'])}"


def _extended(data: Told, clock: Clock) -> str:
    return f"now open until {clock(data['ends_at'])}"


def _ending_soon(data: Told, clock: Clock) -> str:
    at = f", at {clock(data['ends_at'])}" if data.get("ends_at") else ""
    return (
        f"closes in {data.get('seconds')} s{at}; `tokd session extend {data.get('session')} 5m` keeps it open"
    )


def _ended(data: Told, _clock: Clock) -> str:
    return end_of(data)


_SENTENCES: dict[str, Callable[[Told, Clock], str]] = {
    EventType.SESSION_REQUESTED: _requested,
    EventType.SESSION_STARTED: _started,
    EventType.SESSION_LOGIN_STATE: _login,
    EventType.SESSION_OPENED: _opened,
    EventType.SESSION_EXTENDED: _extended,
    EventType.SESSION_ENDING_SOON: _ending_soon,
    EventType.SESSION_ENDED: _ended,
}
