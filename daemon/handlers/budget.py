"""The local call budgets: sliding windows that survive a restart, so that tokd stays under TikTok's limits."""

from datetime import datetime, timedelta

from daemon.domain.ids import AccountName
from daemon.domain.platform import Endpoint
from daemon.handlers.context import Context


def spend(context: Context, account: AccountName, platform: str, endpoint: Endpoint) -> datetime | None:
    """Record a call and return None, or return when the window opens and record nothing."""
    rate = context.rules.platforms[platform].rates[endpoint]
    since = context.now - timedelta(seconds=rate.seconds)
    # A call "from the future" was made before the clock was set back: it must not shut the account out.
    calls = [at for at in context.unit.calls_since(account, endpoint, since) if at <= context.now]
    if len(calls) >= rate.count:
        return calls[len(calls) - rate.count] + timedelta(seconds=rate.seconds)
    context.unit.record_call(account, endpoint, context.now)
    return None
