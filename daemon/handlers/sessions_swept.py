"""What dead daemons left behind has been cleaned up."""

from datetime import timedelta

from daemon.domain.events import EventType
from daemon.domain.session import Session, SessionState
from daemon.domain.session_reports import SessionsSwept
from daemon.handlers.browsing import OPEN_MAX, end_session, orphaned
from daemon.handlers.context import Context

YOUNG_S = 60


def handle(report: SessionsSwept, context: Context) -> None:
    """End the sessions of earlier starts that nobody holds any more, and tell what was found besides."""
    for session in context.unit.sessions(is_over=False, limit=OPEN_MAX):
        if session.id not in report.held and not _may_be_starting(session, context):
            end_session(session, orphaned(), context)
    for session_id in sorted(report.removed):
        if context.unit.session(session_id) is None:
            # The ledger knows nothing of it: it was put back from a backup, or the folder is another node's.
            told = {"session": session_id, "reason": "orphaned"}
            context.emit(EventType.SESSION_ENDED, f"session/{session_id}", told)


def _may_be_starting(session: Session, context: Context) -> bool:
    """Tell whether a session of this start may wait for its worker, or the report of its end be under way."""
    is_young = context.now - session.state_since < timedelta(seconds=YOUNG_S)
    is_waiting = session.state is SessionState.REQUESTED
    return session.boot == context.rules.boot and (is_young or is_waiting)
