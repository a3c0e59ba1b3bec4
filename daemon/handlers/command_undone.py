"""A command was refused and its transaction rolled back: note the refusal in one of its own."""

from daemon.domain.replies import refused
from daemon.domain.reports import CommandUndone
from daemon.handlers.auditing import note
from daemon.handlers.context import Context


def handle(report: CommandUndone, context: Context) -> None:
    """Add the refusal to the audit trail."""
    note(report.request, refused(report.refusal), context)
