"""system/health: the state of every part."""

from typing import Any

from daemon.domain.account import Login
from daemon.domain.commands import Health
from daemon.domain.times import iso
from daemon.handlers.context import Context


def handle(command: Health, context: Context) -> dict[str, Any]:  # noqa: ARG001 - it has no arguments
    """Return phase, parts, queue lengths; `degraded` names what is not as it should be."""
    return daemon_view(context)


def daemon_view(context: Context) -> dict[str, Any]:
    """Return the daemon's state as it stands in `state/daemon` and in the health answer."""
    parts = context.rules.health()
    counts = context.unit.count_posts()
    accounts = context.unit.accounts()
    unreadable = sorted(set(context.unit.account_names()) - {account.name for account in accounts})
    degraded = [name for name, part in parts.items() if not part.get("ok", True)]
    degraded += [
        f"account {account.name} needs a login" for account in accounts if account.login is Login.NEEDS_LOGIN
    ]
    degraded += [f"account {name} cannot be read; `tokd db check` says more" for name in unreadable]
    problems = list(degraded)
    if context.is_paused():
        degraded.append("paused")
    safe = context.rules.safe_mode
    if safe is not None:
        degraded.insert(0, "safe mode")
    phase = "degraded" if degraded else "ready"
    return {
        "phase": phase if safe is None else "safe_mode",
        "degraded": degraded,
        "problems": problems,  # without what a person has chosen
        "safe_mode": f"{safe.reason}; {safe.todo}" if safe is not None else None,
        "paused": context.is_paused(),
        "boot": context.rules.boot,
        "version": context.rules.version,
        "started_at": iso(context.rules.started_at),
        "posts": counts,
        "outbox": context.unit.count_unsent(),
        "parts": parts,
    }
