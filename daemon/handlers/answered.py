"""A deferred question has its answer."""

from daemon.domain.reports import Answered
from daemon.handlers.context import Context


def handle(report: Answered, context: Context) -> None:
    """Hand it to whoever asked."""
    context.answer(report.request, dict(report.body))
