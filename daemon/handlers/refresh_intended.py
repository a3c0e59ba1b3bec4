"""A worker wants to renew an account's tokens: one at a time, on all nodes."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.reports import RefreshIntended, RefreshTurn
from daemon.handlers.context import Context


def handle(report: RefreshIntended, context: Context) -> RefreshTurn:
    """Give the turn to the first that asks; a newer token than the worker knows needs no refresh at all."""
    account = context.unit.account(report.account, lock=True)
    if account is None or account.token_version != report.token_version:
        return RefreshTurn(account, may_refresh=False)
    taken = account.refresh_until is not None and account.refresh_until > context.now
    if taken and account.refresh_node != report.node:
        return RefreshTurn(account, may_refresh=False)
    until = context.now + timedelta(seconds=context.policy.refresh_lease_s)
    account = replace(account, refresh_node=report.node, refresh_until=until)
    context.unit.save_account(account)
    return RefreshTurn(account, may_refresh=True)
