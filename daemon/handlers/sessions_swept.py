"""What dead daemons left behind has been cleaned up."""

from daemon.domain.events import EventType
from daemon.domain.reports import SessionsSwept
from daemon.handlers.browsing import OPEN_MAX, end_session, orphaned
from daemon.handlers.context import Context


def handle(report: SessionsSwept, context: Context) -> None:
    """End the sessions of earlier starts that nobody holds any more, and tell what was found besides."""
    for session in context.unit.sessions(is_over=False, limit=OPEN_MAX):
        # One of this start has a worker thread that will report its end, however it ends.
        if session.boot != context.rules.boot and session.id not in report.held:
            end_session(session, orphaned(), context)
    for session_id in sorted(report.removed):
        if context.unit.session(session_id) is None:
            # The ledger knows nothing of it: it was put back from a backup, or the folder is another node's.
            told = {"session": session_id, "reason": "orphaned"}
            context.emit(EventType.SESSION_ENDED, f"session/{session_id}", told)
