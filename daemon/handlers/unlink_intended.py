"""A worker is about to tell the platform that an account's tokens are over: one at a time, on all nodes."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.account import Account
from daemon.domain.errors import StaleAttempt
from daemon.domain.reports import UnlinkIntended
from daemon.handlers.context import Context


def handle(report: UnlinkIntended, context: Context) -> Account | None:
    """Return the account, which is this worker's for a while; None where nothing is left to be told.

    A new turn is a new token version, so that whoever had the turn before learns that it is over. Raises StaleAttempt
    for that one, and while another node has its turn.
    """
    account = context.unit.account(report.account, lock=True)
    if account is None or not account.is_being_unlinked:
        return None
    if report.token_version is None:
        if account.refresh_node != report.node and not account.is_left_at(context.now):
            raise StaleAttempt(f"account {account.name} is being unlinked by node {account.refresh_node}")
        account = replace(account, token_version=account.token_version + 1)
    elif report.token_version != account.token_version:
        raise StaleAttempt(f"another node goes on with unlinking account {account.name}")
    until = context.now + timedelta(seconds=context.policy.refresh_lease_s)
    account = replace(account, refresh_node=report.node, refresh_until=until)
    context.unit.save_account(account)
    return account
