"""account/import: link an account by a token pair that was obtained elsewhere."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from daemon.domain.account import Account, Login
from daemon.domain.commands import ImportAccount
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.ids import AccountName
from daemon.domain.verdicts import HOLD_DISABLED, HOLD_LOGIN, HOLD_SCOPE
from daemon.domain.work import RefreshAccount
from daemon.handlers.context import Context
from daemon.handlers.release import release_held


def handle(command: ImportAccount, context: Context) -> dict[str, Any]:
    """Store the tokens, sealed, and let the posts go on that waited for them.

    Raises Rejected(forbidden) where the name belongs to another person's account: its posts must not move.
    """
    name, seal = AccountName(command.account), context.rules.vault.seal
    old = context.unit.account(name)
    if old is not None and old.open_id != command.open_id:
        raise Rejected(
            Code.FORBIDDEN,
            f"account {name} is another TikTok account (open_id differs); choose another name",
            field="args.account",
        )
    account = Account(
        name=name,
        platform=command.platform,
        open_id=command.open_id,
        scopes=tuple(part for part in command.scope.replace(" ", ",").split(",") if part),
        access_token=seal("access_token", name, command.access_token.get_secret_value()),
        refresh_token=seal("refresh_token", name, command.refresh_token.get_secret_value()),
        access_expires_at=context.now + timedelta(seconds=command.expires_in),
        refresh_expires_at=context.now + timedelta(seconds=command.refresh_expires_in),
        login=Login.OK,
        linked_at=context.now,
        token_version=1,
    )
    if old is not None:
        account = replace(account, token_version=old.token_version + 1, creator=old.creator)
    context.save_account(account, EventType.ACCOUNT_LINKED)
    release_held(context, (HOLD_LOGIN, HOLD_SCOPE, HOLD_DISABLED), name)
    context.start(RefreshAccount(name))
    return context.view_account(account)
