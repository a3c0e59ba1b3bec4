"""account/disable: hold an account's posts without unlinking it."""

from typing import Any

from daemon.domain.account_commands import DisableAccount
from daemon.handlers.context import Context
from daemon.handlers.linked import switched_off


def handle(command: DisableAccount, context: Context) -> dict[str, Any]:
    """Switch it off; what is under way goes on, what becomes due is held. Raises Rejected(no_such_account)."""
    account = context.require_account(command.account)
    context.disable_account(account.name, switched_off(account.name))
    return context.view_account(context.require_account(account.name))
