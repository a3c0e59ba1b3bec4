"""session/show: everything about one session."""

from typing import Any

from daemon.domain.commands import ShowSession
from daemon.domain.views import session_view
from daemon.handlers.browsing import require_session
from daemon.handlers.context import Context


def handle(command: ShowSession, context: Context) -> dict[str, Any]:
    """Return the session, open or over. Raises Rejected(no_such_session)."""
    return session_view(require_session(command.session, context))
