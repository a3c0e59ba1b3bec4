"""There are tokens for a code: look whose they are, and link the account or give them back."""

from typing import Any

from daemon.domain.account import Account, Login
from daemon.domain.account_commands import FinishLink
from daemon.domain.errors import Code, Rejected
from daemon.domain.linking import PendingLink, is_same, missing_scopes, warnings_about
from daemon.domain.reports import CodeExchanged
from daemon.domain.work import GiveBack
from daemon.handlers.context import Context
from daemon.handlers.linked import (
    keep_linked,
    other_name_of,
    refuse_other_person,
    refuse_while_unlinking,
    tell_link_failed,
)  # fmt: skip
from daemon.handlers.sealing import under_newest_key


def handle(report: CodeExchanged, context: Context) -> None:
    """Store the tokens and answer, or refuse, and store nothing of them."""
    old = context.unit.account(report.account, lock=True)
    link = context.unit.link(report.account)
    try:
        _check(report, old, link, context)
        assert link is not None
        account, told = _keep(report, link, context)
    except Rejected as refusal:
        tell_link_failed(context, report.account, refusal.code.value, refusal.message)
        context.answer(report.request, {"status": "failed", "error": refusal.as_dict()})
        return
    context.answer(report.request, {"status": "done", "result": context.view_account(account) | told})


def _keep(report: CodeExchanged, link: PendingLink, context: Context) -> tuple[Account, dict[str, Any]]:
    """Store the tokens; return the account and what its person must know of it."""
    vault = context.rules.vault
    granted = report.scopes or _told_scopes(report) or link.scopes
    account = Account(
        name=report.account,
        platform=link.platform,
        open_id=report.open_id,
        scopes=granted,
        access_token=under_newest_key(vault, "access_token", report.account, report.access_token),
        refresh_token=under_newest_key(vault, "refresh_token", report.account, report.refresh_token),
        access_expires_at=report.access_expires_at,
        refresh_expires_at=report.refresh_expires_at,
        login=Login.OK,
        linked_at=context.now,
    )
    told = {
        "scopes": list(granted),
        "missing": list(missing_scopes(link.scopes, granted)),
        "warnings": list(warnings_about(link.scopes, granted)),
    }
    return keep_linked(context, account, **told), told


def _check(report: CodeExchanged, old: Account | None, link: PendingLink | None, context: Context) -> None:
    """Raise Rejected where these tokens must not be stored; those that are nobody's here are given back.

    Giving back ends every token of this person for this app: never where another account here lives on them, and
    not where a newer link or an unlink of the same account is under way.
    """
    if link is None or not is_same(link.state_hash, report.state_hash):
        raise Rejected(
            Code.LINK_REFUSED, f"account {report.account} was linked anew or unlinked meanwhile; that counts"
        )
    refuse_while_unlinking(old)
    other = other_name_of(context, report.account, link.platform, report.open_id)
    if other is not None:
        raise Rejected(
            Code.FORBIDDEN,
            f"this TikTok account is linked as {other.name} already; log in to TikTok as the other person first, or "
            f"`tokd account unlink {other.name}`",
            field="args.account",
        )
    try:
        if not report.open_id:
            raise Rejected(Code.LINK_FAILED, "TikTok did not say whose tokens these are; link it again")
        refuse_other_person(old, report.open_id)
    except Rejected:
        context.start(GiveBack(report.account, link.platform, report.access_token))
        raise


def _told_scopes(report: CodeExchanged) -> tuple[str, ...]:
    """Return what the callback said was granted: it stands in where the token endpoint is silent."""
    command = report.request.command
    text = command.scopes if isinstance(command, FinishLink) else None
    return tuple((text or "").replace(",", " ").split())
