"""profiles/promote: close a session cleanly and keep its clone as the profile."""

from dataclasses import replace
from typing import Any

from daemon.domain.commands import PromoteProfile
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import ProfileName
from daemon.domain.session import EndReason, SessionKind
from daemon.domain.work import EndSession
from daemon.handlers.browsing import require_open, save_session
from daemon.handlers.context import Context


def handle(command: PromoteProfile, context: Context) -> dict[str, Any]:
    """Begin the end; `session.ended` tells whether the profile was replaced, and where the old one is.

    Raises Rejected: no_such_session, session_busy.
    """
    session = require_open(command.session, context)
    if session.kind is SessionKind.LOGIN:
        raise Rejected(Code.SESSION_BUSY, "a login window works on the profile itself", field="args.session")
    profile = ProfileName(command.profile) if command.profile else session.profile
    save_session(replace(session, promote_to=profile, version=session.version + 1), context)
    context.start(EndSession(session.id, EndReason.CLOSED_BY_COMMAND, promote_to=profile))
    return {"session": session.id, "state": "closing", "profile": profile}
