"""A session's deadline is near: warn, so that it can be extended."""

from daemon.domain.events import EventType
from daemon.domain.session_reports import SessionEndingSoon
from daemon.domain.times import iso
from daemon.handlers.browsing import live_session, tell_session
from daemon.handlers.context import Context


def handle(report: SessionEndingSoon, context: Context) -> None:
    """Tell how long is left."""
    session = live_session(report.session, context)
    if session is not None:
        left = {"ends_at": iso(session.ends_at)} if session.ends_at else {}
        tell_session(session, context, EventType.SESSION_ENDING_SOON, seconds=round(report.seconds), **left)
