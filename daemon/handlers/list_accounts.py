"""account/list: the linked accounts."""

from typing import Any

from daemon.domain.commands import ListAccounts
from daemon.handlers.context import Context


def handle(command: ListAccounts, context: Context) -> dict[str, Any]:  # noqa: ARG001 - it has no arguments
    """Return every account and whether its tokens work."""
    return {"accounts": [context.view_account(account) for account in context.unit.accounts()]}
