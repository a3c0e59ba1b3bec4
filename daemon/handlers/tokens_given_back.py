"""TikTok has been told that an account's tokens are over, or could not be told."""

from dataclasses import replace

from daemon.domain.errors import StaleAttempt
from daemon.domain.events import EventType
from daemon.domain.reports import TokensGivenBack
from daemon.handlers.context import Context


def handle(report: TokensGivenBack, context: Context) -> None:
    """Blank the tokens in any case, and answer the command, if it is one of this node.

    Raises StaleAttempt where another node goes on with it: what it does counts.
    """
    stored = context.unit.command(report.command) if report.command else None
    account = context.unit.account(report.account, lock=True)
    if account is None or (stored is not None and stored.reply is not None):
        return
    if account.is_being_unlinked and report.token_version not in {None, account.token_version}:
        raise StaleAttempt(f"another node goes on with unlinking account {account.name}")
    revoked = report.error is None
    detail = report.error or "TikTok has taken the tokens back"
    if account.is_being_unlinked:
        account = replace(
            account, access_token="", refresh_token="", access_expires_at=context.now,
            refresh_expires_at=context.now, creator=None, refresh_node=None, refresh_until=None,
        )  # fmt: skip
        context.save_account(account, EventType.ACCOUNT_UNLINKED, revoked=revoked, detail=detail)
    result = {"account": account.name, "login": account.login.value, "revoked": revoked, "detail": detail}
    if stored is not None:
        context.finish(stored, {"status": "done", "result": result})
