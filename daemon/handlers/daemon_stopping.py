"""The daemon stops: tell it while it can still be told."""

from daemon.domain.events import EventType
from daemon.domain.reports import DaemonStopping
from daemon.handlers.context import Context
from daemon.handlers.daemon_started import STOPPED_FLAG


def handle(report: DaemonStopping, context: Context) -> None:  # noqa: ARG001 - it says nothing more
    """Note the clean stop."""
    safe = context.rules.safe_mode
    if safe is not None and safe.is_blind:
        return  # its ledger is gone with it, and no event has a number
    if safe is None:
        context.unit.set_flag(STOPPED_FLAG, context.now.isoformat())
    context.emit(EventType.DAEMON_STOPPED, f"daemon/{context.rules.node}", {"boot": context.rules.boot})
