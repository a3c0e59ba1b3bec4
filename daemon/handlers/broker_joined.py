"""A broker connection is up: make the retained set right."""

from daemon.domain.reports import BrokerJoined, RetainedSetDue
from daemon.domain.views import account_view
from daemon.handlers.context import Context
from daemon.handlers.health import daemon_view


def handle(report: BrokerJoined, context: Context) -> None:
    """Publish the daemon's and the accounts' states; all posts' too where the broker has kept nothing of us."""
    context.publish_state("daemon", daemon_view(context))
    for account in context.unit.accounts():
        context.publish_state(f"account/{account.name}", account_view(account, context.now))
    if not report.has_session:
        context.follow_ups.append(RetainedSetDue(None))
