"""A broker connection is up: make the retained set right."""

from daemon.domain.account import Login
from daemon.domain.reports import BrokerJoined, RetainedSetDue
from daemon.domain.views import profile_view, session_view
from daemon.handlers.context import Context
from daemon.handlers.health import daemon_view
from daemon.handlers.introduce import introduce

SESSIONS_MAX = 200


def handle(report: BrokerJoined, context: Context) -> None:
    """Publish the states of all but posts; those too where the broker has kept nothing of us."""
    publish_all(context)
    if not report.has_session:
        context.follow_ups.append(RetainedSetDue(None))


def publish_all(context: Context) -> None:
    """Publish the states of all but posts, and then the introduction: whoever reads it finds the states there."""
    context.publish_state("daemon", daemon_view(context))
    if context.rules.safe_mode is not None:
        context.publish_safe_mode()
    for account in context.unit.accounts():
        context.publish_account(account)
        if account.login is Login.NEEDS_LOGIN:
            context.publish_alert(account)
    for profile, sighting in context.unit.sightings().items():
        context.publish_state(f"profile/{profile}", profile_view(profile, None, sighting))
    for session in context.unit.sessions(is_over=False, limit=SESSIONS_MAX):
        context.publish_state(f"session/{session.id}", session_view(session))
    introduce(context, again=True)
