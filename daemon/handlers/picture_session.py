"""session/screenshot: ask an open session for a picture of its page."""

from daemon.domain.commands import PictureSession
from daemon.domain.errors import Code, Rejected
from daemon.domain.session import SessionKind
from daemon.domain.work import AskSession, Question
from daemon.handlers.browsing import require_open
from daemon.handlers.context import Context, Deferred


def handle(command: PictureSession, context: Context) -> Deferred:
    """Defer to the session. Raises Rejected: no_such_session, session_busy."""
    session = require_open(command.session, context)
    if session.kind is SessionKind.LOGIN:
        raise Rejected(
            Code.SESSION_BUSY,
            "a login window has no door for tokd: neither picture nor check",
            field="args.session",
        )
    return Deferred(AskSession(session.id, Question.PICTURE, inline=command.inline))
