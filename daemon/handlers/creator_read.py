"""The platform said what an account may do: remember it, so that the next order can be checked at once."""

from dataclasses import replace

from daemon.domain.reports import CreatorRead
from daemon.handlers.context import Context


def handle(report: CreatorRead, context: Context) -> None:
    """Store the options where they have changed."""
    account = context.unit.account(report.account, lock=True)
    if account is not None and account.creator != report.creator:
        context.save_account(replace(account, creator=report.creator))
