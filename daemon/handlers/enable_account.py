"""account/enable: let an account post again."""

from dataclasses import replace
from typing import Any

from daemon.domain.account_commands import EnableAccount
from daemon.domain.events import EventType
from daemon.domain.verdicts import HOLD_DISABLED
from daemon.handlers.context import Context
from daemon.handlers.release import release_held


def handle(command: EnableAccount, context: Context) -> dict[str, Any]:
    """Switch it on, and let the posts go on that were held for it. Raises Rejected(no_such_account)."""
    account = context.require_account(command.account)
    if not account.enabled:
        account = replace(account, enabled=True, detail=None)
        context.save_account(account, EventType.ACCOUNT_ENABLED)
        release_held(context, (HOLD_DISABLED,), account.name)
    return context.view_account(account)
