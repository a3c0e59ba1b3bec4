"""What the handlers of sessions have in common: store and tell one, find the one that is meant, end it."""

from dataclasses import replace
from typing import Any

from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.figures import Tally
from daemon.domain.ids import ProfileName, SessionId
from daemon.domain.login import Doubt
from daemon.domain.session import BrowserEnded, EndReason, Session, SessionKind, SessionState, move
from daemon.domain.views import session_view
from daemon.handlers.context import Context

OPEN_MAX = 200

# What a caller is told where a session ended before its window was handed over.
_CODES = {
    EndReason.LOGGED_OUT: Code.NOT_LOGGED_IN,
    EndReason.UNCERTAIN: Code.LOGIN_UNCERTAIN,
    EndReason.CRASHED: Code.BROWSER_FAILED,
    EndReason.DISPLAY_LOST: Code.NO_DISPLAY,
    EndReason.SHUTDOWN: Code.SHUTTING_DOWN,
    EndReason.ORPHANED: Code.INTERNAL,
}
_PASSING = frozenset(
    {Code.USER_DATA_LOCKED, Code.DISK_FULL, Code.SESSION_TIMEOUT, Code.SHUTTING_DOWN, Code.BROWSER_FAILED}
)
_NOT_RUNNING = frozenset({SessionState.REQUESTED, SessionState.CLONING, SessionState.STARTING})
_LAUNCH_CODES = frozenset(
    code.value
    for code in (
        Code.NO_BROWSER, Code.NO_DISPLAY, Code.DRIVER_MISMATCH, Code.BROWSER_FAILED, Code.SESSION_TIMEOUT,
    )
)  # fmt: skip


def save_session(session: Session, context: Context) -> Session:
    """Store a changed session and publish its state; one that is over has none."""
    context.unit.save_session(session)
    context.publish_state(f"session/{session.id}", None if session.is_over else session_view(session))
    return session


def tell_session(session: Session, context: Context, event: EventType, **data: Any) -> None:
    """Store an event about a session."""
    told = {"session": session.id, "profile": session.profile, "kind": session.kind.value}
    context.emit(event, f"session/{session.id}", told | data | {"command_id": session.command_id})


def live_session(session_id: SessionId, context: Context) -> Session | None:
    """Return the session if it is not over: a late report about one that is means nothing."""
    session = context.unit.session(session_id)
    return session if session is not None and not session.is_over else None


def require_session(name: str | None, context: Context) -> Session:
    """Return the session that is meant, over or not; without a name, the only one that is not over.

    Raises Rejected: no_such_session, forbidden where it is another user's, bad_field where several might be meant.
    """
    if name is not None:
        session = context.unit.session(SessionId(name))
        if session is None:
            raise Rejected(
                Code.NO_SUCH_SESSION,
                f"there is no session {name}; session/list shows them",
                field="args.session",
            )
        if not context.may_touch(session.actor):
            raise Rejected(Code.FORBIDDEN, f"session {name} belongs to another user", field="args.session")
        return session
    found = context.unit.sessions(is_over=False, limit=OPEN_MAX)
    if not found:
        raise Rejected(Code.NO_SUCH_SESSION, "no session is open", field="args.session")
    if len(found) > 1:
        names = ", ".join(session.id for session in found[:10])
        raise Rejected(Code.BAD_FIELD, f"several sessions are open: say which, {names}", field="args.session")
    return found[0]


def require_open(name: str | None, context: Context) -> Session:
    """Return the session that is meant. Raises Rejected(session_busy) unless its window is open."""
    session = require_session(name, context)
    if session.state is not SessionState.OPEN:
        raise Rejected(
            Code.SESSION_BUSY, f"session {session.id} is {session.state}, not open", field="args.session",
            retryable=not session.is_over and session.state is not SessionState.CLOSING,
        )  # fmt: skip
    return session


def refuse_too_many(context: Context) -> None:
    """Raise Rejected(session_limit) where no further session may be opened."""
    most = context.policy.sessions.max_concurrent
    found = context.unit.sessions(is_over=False, limit=most)
    if len(found) >= most:
        ends = [session.ends_at for session in found if session.ends_at is not None]
        wait_s = int((min(ends) - context.now).total_seconds()) if ends else 30
        raise Rejected(
            Code.SESSION_LIMIT, f"{len(found)} sessions are open, session.max_concurrent allows {most}; close one",
            retryable=True, retry_after_s=max(1, wait_s),
        )  # fmt: skip


def end_session(session: Session, end: BrowserEnded, context: Context, **data: Any) -> Session:
    """Note that a session is over, tell it, and answer its caller if nobody has yet."""
    ended = move(
        session, SessionState.ENDED, context.now,
        ended_at=context.now, reason=end.reason, error=end.error, exit_status=end.exit_status,
    )  # fmt: skip
    save_session(ended, context)
    if session.state in _NOT_RUNNING and end.error is not None and end.error.code in _LAUNCH_CODES:
        context.count(Tally.LAUNCH_FAILURES)
    since = session.opened_at or session.created_at
    told: dict[str, Any] = {
        "reason": end.reason.value,
        "seconds": round((context.now - since).total_seconds(), 1),
    }
    if session.login is not None:
        told["login"] = session.login.value
    if end.error is not None:
        told["error"] = end.error.as_dict()
    if end.exit_status is not None:
        told["exit_status"] = end.exit_status
    tell_session(ended, context, EventType.SESSION_ENDED, **told, **data)
    answer_caller(ended, _refusal(ended), context)
    return ended


def answer_caller(session: Session, body: dict[str, Any], context: Context) -> None:
    """Answer the order that opened the session, unless it has been answered."""
    stored = context.unit.find_command(session.actor, session.command_id)
    if stored is not None and stored.reply is None:
        context.finish(stored, body)


def _refusal(session: Session) -> dict[str, Any]:
    code, message = _why(session)
    body: dict[str, Any] = {"code": code.value, "message": message, "retryable": code in _PASSING}
    body["session"] = session.id
    if session.verdict is not None:
        body["login"] = session.verdict
    never_started = session.reason is EndReason.FAILED and session.login is None
    return {"status": "rejected" if never_started else "failed", "error": body}


def _why(session: Session) -> tuple[Code, str]:
    if session.error is not None and session.error.code in set(Code):
        return Code(session.error.code), session.error.message
    doubt = (session.verdict or {}).get("reason")
    if session.reason is EndReason.UNCERTAIN and doubt == Doubt.CHALLENGE:
        return (
            Code.CHALLENGE,
            "the site asks for a person (a captcha or the like); open the session with a window",
        )
    what = {
        EndReason.LOGGED_OUT: f"profile {session.profile} is logged out; `tokd profile login {session.profile}` mends it",
        EndReason.UNCERTAIN: f"nobody can tell whether profile {session.profile} is logged in ({doubt})",
        EndReason.CRASHED: "the browser died before its window was open",
        EndReason.DISPLAY_LOST: "the display went away before the window was open",
        EndReason.SHUTDOWN: "tokd is stopping",
        EndReason.ORPHANED: "tokd was restarted while the session was being opened; open it again",
    }.get(session.reason or EndReason.FAILED, f"it ended before its window was open: {session.reason}")
    return _CODES.get(session.reason or EndReason.FAILED, Code.SESSION_BUSY), what


def orphaned() -> BrowserEnded:
    """Return the end of a session whose daemon is dead."""
    return BrowserEnded(reason=EndReason.ORPHANED)


def new_session(
    context: Context, *, kind: SessionKind, profile: str | None, url: str, timeout_s: int, headless: bool,
    require_login: bool,
) -> Session:  # fmt: skip
    """Write a new session down and tell it. Raises Rejected(session_limit)."""
    refuse_too_many(context)
    request = context.request
    if request is None:
        raise Rejected(Code.INTERNAL, "a session is opened by a command")
    session = Session(
        id=context.rules.ids.session(), node=context.rules.node, boot=context.rules.boot, actor=request.actor,
        command_id=context.command_id, kind=kind, profile=ProfileName(profile or context.policy.sessions.profile),
        url=url, headless=headless, require_login=require_login, timeout_s=timeout_s,
        state=SessionState.REQUESTED, state_since=context.now, created_at=context.now,
    )  # fmt: skip
    context.unit.add_session(session)
    context.publish_state(f"session/{session.id}", session_view(session), is_first=True)
    tell_session(
        session,
        context,
        EventType.SESSION_REQUESTED,
        timeout_s=timeout_s,
        headless=headless,
        actor=request.actor,
    )
    return session


def with_warnings(session: Session, more: tuple[str, ...]) -> Session:
    """Return the session with further warnings, none twice."""
    return replace(session, warnings=tuple(dict.fromkeys((*session.warnings, *more))))
