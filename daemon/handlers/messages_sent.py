"""The broker has acknowledged outbox rows."""

from daemon.domain.reports import MessagesSent
from daemon.handlers.context import Context


def handle(report: MessagesSent, context: Context) -> None:
    """Note it; rows that are sent twice after a crash carry the same event id."""
    context.unit.mark_sent(report.rows, context.now)
