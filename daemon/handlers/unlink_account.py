"""account/unlink: give an account's tokens back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from daemon.domain.account import Login
from daemon.domain.account_commands import UnlinkAccount
from daemon.domain.errors import Code, Rejected
from daemon.domain.work import UnlinkTokens
from daemon.handlers.context import Accepted, Context
from daemon.handlers.linked import refuse_while_unlinking


def handle(command: UnlinkAccount, context: Context) -> dict[str, Any] | Accepted:
    """Stop using the account at once, then tell TikTok; the tokens are blanked when it has been told, or cannot be.

    Raises Rejected: no_such_account; busy while posts of it are being sent or are with TikTok, for their status
    could not be read any more, and while it is being unlinked already, unless the node that is at it has died.
    """
    known = context.find_account(command.account)
    account = (
        context.unit.account(known.name, lock=True) or known
    )  # another node may renew its tokens just now
    if account.login is Login.UNLINKED and not account.is_being_unlinked:
        detail = "it was unlinked before"
        return {"account": account.name, "login": account.login.value, "revoked": False, "detail": detail}
    if not account.is_left_at(context.now):
        refuse_while_unlinking(account)
    posts = context.unit.busy_with(account.name)
    if posts:
        raise Rejected(
            Code.BUSY,
            f"account {account.name} has posts under way: {', '.join(posts[:10])}; wait until they are through, or "
            "cancel them",
            field="args.account",
            retryable=True,
            retry_after_s=30,
        )
    # Another token version: a refresh that is under way must not bring the account back.
    changed = replace(
        account, login=Login.UNLINKED, token_version=account.token_version + 1, refresh_node=context.rules.node,
        refresh_until=context.now + timedelta(seconds=context.policy.refresh_lease_s), detail=None,
    )  # fmt: skip
    context.save_account(changed)
    context.unit.drop_link(account.name)
    return Accepted(UnlinkTokens(0, account.name))
