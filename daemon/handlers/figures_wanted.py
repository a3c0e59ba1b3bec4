"""Somebody wants the numbers: what only the ledger knows, in a few short reads."""

from collections import Counter
from datetime import datetime

from daemon.domain.account import Login
from daemon.domain.figures import Standing
from daemon.domain.reports import FiguresWanted
from daemon.domain.restored import BACKUP_FLAG
from daemon.handlers.context import Context

SESSIONS_MAX = 200


def handle(report: FiguresWanted, context: Context) -> Standing:
    """Return how things stand."""
    unit, now = context.unit, context.now
    due, unsent = unit.oldest_due(now), unit.oldest_unsent()
    sessions = Counter(session.state.value for session in unit.sessions(is_over=False, limit=SESSIONS_MAX))
    backup = unit.flag(BACKUP_FLAG)
    # Reads every post that has ended: asked once, then kept up from the events.
    successes = unit.last_successes() if report.with_successes else {}
    return Standing(
        posts=unit.count_posts(),
        due_lag_s=max(0.0, (now - due).total_seconds()) if due else 0.0,
        inbox_open=unit.count_open_commands(),
        outbox_pending=unit.count_unsent(),
        outbox_oldest_s=max(0.0, (now - unsent).total_seconds()) if unsent else 0.0,
        sessions=sessions,
        token_expiry={
            account.name: account.refresh_expires_at.timestamp()
            for account in unit.accounts()
            if account.login is not Login.UNLINKED
        },
        last_backup=datetime.fromisoformat(backup).timestamp() if backup else None,
        last_success={name: at.timestamp() for name, at in successes.items()},
    )
