"""account/import: link an account by a token pair that was obtained elsewhere."""

from datetime import timedelta
from typing import Any

from daemon.domain.account import Account, Login
from daemon.domain.account_commands import ImportAccount
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import AccountName
from daemon.handlers.context import Context
from daemon.handlers.linked import keep_linked, other_name_of, refuse_other_person, refuse_while_unlinking


def handle(command: ImportAccount, context: Context) -> dict[str, Any]:
    """Store the tokens, sealed, and let the posts go on that waited for them.

    Raises Rejected: forbidden where the name belongs to another person's account or the person has another name
    here, busy while it is being unlinked.
    """
    name, seal = AccountName(command.account), context.rules.vault.seal
    old = context.unit.account(name)
    refuse_other_person(old, command.open_id)
    refuse_while_unlinking(old)
    other = other_name_of(context, name, command.platform, command.open_id)
    if other is not None:
        raise Rejected(
            Code.FORBIDDEN,
            f"this TikTok account (its open_id) is linked as {other.name} already: import it under that name, or "
            f"`tokd account unlink {other.name}` first",
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
    )
    return context.view_account(keep_linked(context, account))
