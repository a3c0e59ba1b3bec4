"""account/check: ask TikTok about an account now."""

from daemon.domain.account_commands import CheckAccount
from daemon.domain.errors import Code, Rejected
from daemon.domain.platform import Endpoint
from daemon.domain.work import InspectAccount
from daemon.handlers.budget import spend
from daemon.handlers.context import Context, Deferred


def handle(command: CheckAccount, context: Context) -> Deferred:
    """Defer to the network. Raises Rejected: no_such_account, not_configured, rate_limited."""
    account = context.require_account(command.account)
    context.platform(account.platform)
    opens_at = spend(context, account.name, account.platform, Endpoint.CREATOR)
    if opens_at is not None:
        wait_s = max(1, round((opens_at - context.now).total_seconds()))
        raise Rejected(
            Code.RATE_LIMITED, f"TikTok was asked about {account.name} as often as it allows", retryable=True,
            retry_after_s=wait_s,
        )  # fmt: skip
    return Deferred(InspectAccount(account.name))
