"""What retained states tell has changed: publish them once for all changes of the last moments."""

from daemon.domain.errors import AccountUnreadable
from daemon.domain.reports import StatesTouched
from daemon.handlers.context import Context
from daemon.handlers.health import daemon_view


def handle(report: StatesTouched, context: Context) -> None:
    """Publish the accounts that still exist, and clear the others."""
    for name in sorted(report.accounts):
        try:
            account = context.unit.account(name)
        except AccountUnreadable:
            continue  # what was told last stays; its posts say what is wrong
        if account is None:
            context.publish_state(f"account/{name}", None)
        else:
            context.publish_account(account)
    if report.daemon:
        context.publish_state("daemon", daemon_view(context))
