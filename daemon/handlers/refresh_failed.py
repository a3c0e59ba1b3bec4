"""A token refresh did not work."""

from dataclasses import replace

from daemon.domain.reports import RefreshFailed
from daemon.handlers.context import Context


def handle(report: RefreshFailed, context: Context) -> None:
    """Give the turn back; where it is final, the person must link the account again."""
    account = context.unit.account(report.account)
    if account is None or account.token_version != report.token_version:
        return
    context.unit.save_account(replace(account, refresh_node=None, refresh_until=None))
    if report.is_final:
        context.mark_needs_login(report.account, report.detail)
