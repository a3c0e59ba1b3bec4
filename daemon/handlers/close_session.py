"""session/close: ask a session's browser to close; `session.ended` follows when all of it is gone."""

from typing import Any

from daemon.domain.commands import CloseSession
from daemon.domain.errors import Code, Rejected
from daemon.domain.session import EndReason
from daemon.domain.work import EndSession
from daemon.handlers.browsing import OPEN_MAX, require_session
from daemon.handlers.context import Context


def handle(command: CloseSession, context: Context) -> dict[str, Any]:
    """Begin the end. Closing what is over already is no mistake. Raises Rejected: no_such_session, bad_field."""
    if command.session is not None and (command.all or command.profile is not None):
        raise Rejected(Code.BAD_FIELD, "give a session, a profile or all, not several", field="args.session")
    if command.all or command.profile is not None:
        found = context.unit.sessions(is_over=False, limit=OPEN_MAX)
        found = [session for session in found if command.profile in {None, session.profile}]
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
