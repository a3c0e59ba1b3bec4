"""session/extend: keep a window open for longer."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from daemon.domain.commands import ExtendSession
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.times import iso
from daemon.domain.work import ProlongSession
from daemon.handlers.browsing import require_open, save_session, tell_session
from daemon.handlers.context import Context


def handle(command: ExtendSession, context: Context) -> dict[str, Any]:
    """Move the deadline, never to an earlier time. Raises Rejected: no_such_session, session_busy, too_late."""
    session = require_open(command.session, context)
    wanted = context.now + timedelta(seconds=command.seconds)
    longest = (session.opened_at or context.now) + timedelta(seconds=context.policy.sessions.longest_s)
    if wanted > longest:
        raise Rejected(
            Code.TOO_LATE, f"a session lasts {context.policy.sessions.longest_s} s at most: open a new one",
            field="args.seconds",
        )  # fmt: skip
    if session.ends_at is not None and wanted <= session.ends_at:
        return {"session": session.id, "ends_at": iso(session.ends_at)}
    changed = replace(session, ends_at=wanted, version=session.version + 1)
    save_session(changed, context)
    tell_session(changed, context, EventType.SESSION_EXTENDED, ends_at=iso(wanted))
    context.start(ProlongSession(session.id, command.seconds))
    return {"session": session.id, "ends_at": iso(wanted)}
