"""What every way of linking an account has in common: whose name it is, and what begins when it works again."""

from dataclasses import replace
from typing import Any

from daemon.domain.account import Account
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.ids import AccountName
from daemon.domain.verdicts import HOLD_LOGIN, HOLD_SCOPE, HOLD_UNREADABLE
from daemon.domain.work import RefreshAccount
from daemon.handlers.context import Context
from daemon.handlers.release import release_held


def refuse_while_unlinking(account: Account | None) -> None:
    """Raise Rejected(busy) while the platform is being told that the old tokens are over: it would end new ones."""
    if account is not None and account.is_being_unlinked:
        raise Rejected(
            Code.BUSY,
            f"account {account.name} is being unlinked; wait for account.unlinked",
            field="args.account",
            retryable=True,
            retry_after_s=5,
        )


def refuse_other_person(old: Account | None, open_id: str) -> None:
    """Raise Rejected(forbidden) where the name belongs to another person's account: its posts must not move."""
    if old is not None and old.open_id != open_id:
        raise Rejected(
            Code.FORBIDDEN,
            f"account {old.name} is another TikTok account (open_id differs); choose another name",
            field="args.account",
        )


def other_name_of(context: Context, name: AccountName, platform: str, open_id: str) -> Account | None:
    """Return the account under another name that is this person's already: two names would be two queues for one."""
    found = (
        other
        for other in context.unit.accounts()
        if other.name != name and (other.platform, other.open_id) == (platform, open_id) and other.has_tokens
    )
    return next(found, None)


def keep_linked(context: Context, account: Account, **told: Any) -> Account:
    """Store an account with its new tokens, and let the posts go on that waited for them.

    One that is switched off stays so: its posts would go out against somebody's word. Raises Rejected(forbidden)
    where another node has just linked the same person under another name.
    """
    old = context.unit.account(account.name)
    if old is not None:
        account = replace(account, token_version=old.token_version + 1, creator=old.creator)
        if not old.enabled:
            account = replace(account, enabled=False, detail=switched_off(account.name))
    context.save_account(account, EventType.ACCOUNT_LINKED, **told)
    release_held(context, (HOLD_LOGIN, HOLD_SCOPE, HOLD_UNREADABLE), account.name, at_once=True)
    context.start(RefreshAccount(account.name))
    return account


def switched_off(name: AccountName) -> str:
    """Return what stands at an account that does not post."""
    return f"switched off; `tokd account enable {name}` switches it on"


def tell_link_failed(context: Context, account: AccountName, code: str, message: str) -> None:
    """Tell the world that a link has come to nothing."""
    told = {"account": account, "code": code, "message": message}
    context.emit(EventType.ACCOUNT_LINK_FAILED, f"account/{account}", told)
