"""account/list: the linked accounts."""

from typing import Any

from daemon.domain.account import Account, Login
from daemon.domain.account_commands import ListAccounts
from daemon.handlers.context import Context


def handle(command: ListAccounts, context: Context) -> dict[str, Any]:
    """Return every account and whether its tokens work; an unlinked one only where posts wait for it, or with `all`."""
    shown = [found for found in context.unit.accounts() if command.all or _matters(found, context)]
    return {"accounts": [context.view_account(account) for account in shown]}


def _matters(account: Account, context: Context) -> bool:
    return account.login is not Login.UNLINKED or context.unit.next_post(account.name) is not None
