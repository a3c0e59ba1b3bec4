"""A session is over and cleaned up."""

from daemon.domain.session_reports import SessionEnded
from daemon.handlers.browsing import end_session, live_session
from daemon.handlers.context import Context


def handle(report: SessionEnded, context: Context) -> None:
    """Tell why it ended, and what became of its clone where that was to be kept."""
    session = live_session(report.session, context)
    if session is None:
        return
    kept = {
        "promoted_to": report.promoted_to,
        "backup": report.backup,
        "promotion_error": report.promotion_error,
        "kept_clone": report.kept_clone,
        "left_behind": None if report.is_clean else True,
    }
    end_session(
        session, report.end, context, **{key: value for key, value in kept.items() if value is not None}
    )
