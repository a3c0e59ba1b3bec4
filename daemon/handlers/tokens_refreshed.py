"""A new token pair: on disk before anybody uses it."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.account import Account, Login
from daemon.domain.errors import StaleAttempt
from daemon.domain.events import EventType
from daemon.domain.reports import TokensRefreshed
from daemon.domain.times import iso
from daemon.domain.verdicts import HOLD_LOGIN
from daemon.handlers.context import Context
from daemon.handlers.release import release_held
from daemon.handlers.sealing import under_newest_key


def handle(report: TokensRefreshed, context: Context) -> Account:
    """Store the pair. Raises StaleAttempt where the account was linked anew meanwhile."""
    account = context.unit.account(report.account, lock=True)  # another node may unlink it just now
    if account is None or account.token_version != report.token_version:
        raise StaleAttempt(f"account {report.account} has other tokens by now")
    vault, name = context.rules.vault, report.account
    changed = replace(
        account,
        access_token=under_newest_key(vault, "access_token", name, report.access_token),
        refresh_token=under_newest_key(vault, "refresh_token", name, report.refresh_token),
        access_expires_at=context.now + timedelta(seconds=report.access_seconds),
        refresh_expires_at=context.now + timedelta(seconds=report.refresh_seconds),
        scopes=report.scopes or account.scopes,
        login=Login.OK,
        token_version=account.token_version + 1,
        refresh_node=None,
        refresh_until=None,
        detail=None,
    )
    context.save_account(
        changed, EventType.ACCOUNT_REFRESHED, access_expires_at=iso(changed.access_expires_at)
    )
    release_held(context, (HOLD_LOGIN,), account.name)
    return changed
