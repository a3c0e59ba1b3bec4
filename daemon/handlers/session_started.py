"""A session's browser runs."""

from daemon.domain.addresses import shown_url
from daemon.domain.events import EventType
from daemon.domain.session_reports import SessionStarted
from daemon.handlers.browsing import live_session, save_session, tell_session, with_warnings
from daemon.handlers.context import Context


def handle(report: SessionStarted, context: Context) -> None:
    """Tell it, and what the person should know about this browser."""
    session = live_session(report.session, context)
    if session is None:
        return
    session = save_session(with_warnings(session, report.warnings), context)
    tell_session(
        session, context, EventType.SESSION_STARTED,
        url=shown_url(session.url), browser=report.version, sandbox=report.is_sandboxed, headless=session.headless,
        warnings=list(session.warnings),
    )  # fmt: skip
