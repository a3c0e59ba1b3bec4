"""account/finish_link: the person is back from TikTok, with a code or with the reason why not."""

from typing import Any, NoReturn

from daemon.domain.account_commands import FinishLink
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import AccountName
from daemon.domain.linking import PendingLink, hash_of, is_same
from daemon.domain.times import iso
from daemon.domain.work import ExchangeCode
from daemon.handlers.context import Context, Deferred
from daemon.handlers.linked import refuse_while_unlinking, tell_link_failed

_MOST = 200


def handle(command: FinishLink, context: Context) -> Deferred | dict[str, Any]:
    """Use the state up, then have the code exchanged: this commit comes before the call leaves.

    A crash between the two, or before the tokens are committed, leaves a link that is over and an account as it
    was: the person starts again. Nothing goes on by itself, for a code works once.

    Raises Rejected: no_such_link (nobody waits for this state), link_refused, forbidden, busy, not_configured.
    """
    link = _pending(command, context)
    platform = context.platform(link.platform)
    refuse_while_unlinking(context.unit.account(link.account))
    if context.request is not None and context.request.dry_run:
        return {"dry_run": True, "account": link.account}
    if not context.unit.use_link(link.state_hash, context.now):
        raise _used(link.account)
    # From here on the state is spent, whatever is said: what is written stands, for this is no durable command.
    if platform.client_key != link.client_key:
        _fail(link, context, "other_client", "the app's client key was changed since this link was begun")
    if command.error is not None:
        error = _plain(command.error) or "unknown"
        said = _plain(command.error_description or "")
        message = f"{platform.why_not_agreed(error)} (TikTok says {error}{f': {said}' if said else ''})"
        _fail(link, context, error, message)
    if command.code is None:
        _fail(link, context, "no_code", "TikTok sent the person back without a code")
    return Deferred(ExchangeCode(link.account, link.state_hash))


def is_awaited(command: FinishLink, context: Context) -> bool:
    """Tell whether a link waits for just this state: one read by an index."""
    state_hash = hash_of(command.state.get_secret_value())
    link = context.unit.link_of(state_hash)
    return link is not None and link.used_at is None and link.expires_at > context.now


def _pending(command: FinishLink, context: Context) -> PendingLink:
    state_hash = hash_of(command.state.get_secret_value())
    link = context.unit.link_of(state_hash)
    if link is None or not is_same(link.state_hash, state_hash):
        raise Rejected(
            Code.NO_SUCH_LINK,
            "nobody waits for this answer: it belongs to no link that was begun here, or a newer one has taken its "
            "place; start again with `tokd account link NAME`",
            field="args.state",
        )
    if command.account is not None and link.account != AccountName(command.account):
        raise Rejected(
            Code.NO_SUCH_LINK,
            f"this answer belongs to a link of another account than {command.account}",
            field="args.account",
        )
    if link.used_at is not None:
        raise _used(link.account)
    if link.expires_at <= context.now:
        raise Rejected(
            Code.NO_SUCH_LINK,
            f"this link was over at {iso(link.expires_at)}; start again with `tokd account link {link.account}`",
            field="args.state",
        )
    return link


def _used(account: AccountName) -> Rejected:
    return Rejected(
        Code.NO_SUCH_LINK,
        f"this answer has been used already; `tokd account list` tells what became of it, and "
        f"`tokd account link {account}` starts again",
        field="args.state",
    )


def _fail(link: PendingLink, context: Context, code: str, message: str) -> NoReturn:
    message = f"{message}; start again with `tokd account link {link.account}`"
    tell_link_failed(context, link.account, code, message)
    raise Rejected(Code.LINK_REFUSED, f"account {link.account} is not linked: {message}")


def _plain(text: str) -> str:
    """Return text from outside, short and without anything that moves a cursor."""
    return "".join(letter for letter in text if letter.isprintable())[:_MOST].strip()
