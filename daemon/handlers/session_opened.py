"""A session's window has been handed to the person."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.events import EventType
from daemon.domain.session import SessionState, move
from daemon.domain.session_reports import SessionOpened
from daemon.domain.times import iso
from daemon.domain.views import session_view
from daemon.handlers.browsing import answer_caller, live_session, save_session, tell_session
from daemon.handlers.context import Context


def handle(report: SessionOpened, context: Context) -> None:
    """Tell until when it is open, and answer the caller."""
    session = live_session(report.session, context)
    if session is None:
        return
    ends_at = context.now + timedelta(seconds=report.timeout_s)
    opened = replace(move(session, SessionState.OPEN, context.now), opened_at=context.now, ends_at=ends_at)
    save_session(opened, context)
    tell_session(opened, context, EventType.SESSION_OPENED, ends_at=iso(ends_at))
    answer_caller(opened, {"status": "done", "result": session_view(opened)}, context)
