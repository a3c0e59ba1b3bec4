"""account/list: the linked accounts."""

from typing import Any

from daemon.domain.commands import ListAccounts
from daemon.domain.views import account_view
from daemon.handlers.context import Context


def handle(command: ListAccounts, context: Context) -> dict[str, Any]:  # noqa: ARG001 - it has no arguments
    """Return every account and whether its tokens work."""
    return {"accounts": [account_view(account, context.now) for account in context.unit.accounts()]}
