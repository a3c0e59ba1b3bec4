"""profiles/login: open a window on the profile itself, for the person to log in."""

from daemon.domain.commands import LoginProfile
from daemon.domain.session import SessionKind
from daemon.domain.work import Browse
from daemon.handlers.browsing import new_session
from daemon.handlers.context import Accepted, Context
from daemon.handlers.open_session import host_of


def handle(command: LoginProfile, context: Context) -> Accepted:
    """Accept the login. Raises Rejected: bad_field, session_limit."""
    policy = context.policy.sessions
    url = command.url or policy.url
    host_of(url)
    session = new_session(
        context, kind=SessionKind.LOGIN, profile=command.profile, url=url, headless=False, require_login=False,
        timeout_s=command.timeout_seconds or policy.login_timeout_s,
    )  # fmt: skip
    return Accepted(Browse(0, session.id))
