"""session/list: the sessions that are open, or that were."""

from typing import Any

from daemon.domain.commands import ListSessions
from daemon.domain.views import session_view
from daemon.handlers.context import Context


def handle(command: ListSessions, context: Context) -> dict[str, Any]:
    """Return the sessions, newest first."""
    found = context.unit.sessions(is_over=command.ended, limit=command.limit)
    return {"sessions": [session_view(session) for session in found if context.may_touch(session.actor)]}
