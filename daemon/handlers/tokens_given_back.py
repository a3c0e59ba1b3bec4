"""TikTok has been told that an account's tokens are over, or could not be told."""

from dataclasses import replace

from daemon.domain.events import EventType
from daemon.domain.reports import TokensGivenBack
from daemon.handlers.context import Context


def handle(report: TokensGivenBack, context: Context) -> None:
    """Blank the tokens in any case, and answer the command."""
    stored = context.unit.command(report.command)
    account = context.unit.account(report.account)
    if stored.reply is not None or account is None:
        return
    revoked = report.error is None
    detail = report.error or "TikTok has taken the tokens back"
    if account.is_being_unlinked:
        account = replace(
            account, access_token="", refresh_token="", access_expires_at=context.now,
            refresh_expires_at=context.now, creator=None,
        )  # fmt: skip
        context.save_account(account, EventType.ACCOUNT_UNLINKED, revoked=revoked, detail=detail)
    result = {"account": account.name, "login": account.login.value, "revoked": revoked, "detail": detail}
    context.finish(stored, {"status": "done", "result": result})
