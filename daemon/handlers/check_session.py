"""session/check: read the login state of an open session once more."""

from daemon.domain.commands import CheckSession
from daemon.domain.errors import Code, Rejected
from daemon.domain.session import SessionKind
from daemon.domain.work import AskSession, Question
from daemon.handlers.browsing import require_open
from daemon.handlers.context import Context, Deferred


def handle(command: CheckSession, context: Context) -> Deferred:
    """Defer to the session. Raises Rejected: no_such_session, session_busy."""
    session = require_open(command.session, context)
    if session.kind is not SessionKind.TIKTOK:
        raise Rejected(
            Code.SESSION_BUSY,
            f"the login state of a {session.kind} session cannot be read",
            field="args.session",
        )
    return Deferred(AskSession(session.id, Question.CHECK))
