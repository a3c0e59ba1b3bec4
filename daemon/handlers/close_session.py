"""session/close: ask a session's browser to close; `session.ended` follows when all of it is gone."""

from typing import Any

from daemon.domain.commands import CloseSession
from daemon.domain.session import EndReason
from daemon.domain.work import EndSession
from daemon.handlers.browsing import OPEN_MAX, require_session
from daemon.handlers.context import Context


def handle(command: CloseSession, context: Context) -> dict[str, Any]:
    """Begin the end. Closing what is over already is no mistake. Raises Rejected: no_such_session, bad_field."""
    if command.all:
        found = context.unit.sessions(is_over=False, limit=OPEN_MAX)
        for session in found:
            context.start(EndSession(session.id, EndReason.CLOSED_BY_COMMAND))
        return {"closing": [session.id for session in found]}
    session = require_session(command.session, context)
    if session.is_over:
        return {
            "session": session.id,
            "state": "ended",
            "reason": session.reason.value if session.reason else None,
        }
    context.start(EndSession(session.id, EndReason.CLOSED_BY_COMMAND))
    return {"session": session.id, "state": "closing"}
