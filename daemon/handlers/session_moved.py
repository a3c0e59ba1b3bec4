"""A session has come a step further."""

from daemon.domain.session import move
from daemon.domain.session_reports import SessionMoved
from daemon.handlers.browsing import live_session, save_session, with_warnings
from daemon.handlers.context import Context


def handle(report: SessionMoved, context: Context) -> None:
    """Store and publish the step."""
    session = live_session(report.session, context)
    if session is not None and session.state is not report.state:
        save_session(with_warnings(move(session, report.state, context.now), report.warnings), context)
