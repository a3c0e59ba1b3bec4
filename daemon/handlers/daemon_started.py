"""The daemon has started: finish what a crash interrupted, tell the world."""

from daemon.domain.events import EventType
from daemon.domain.reports import DaemonStarted
from daemon.handlers.context import Context
from daemon.handlers.recovery import recover_post

STOPPED_FLAG = "clean_stop"


def handle(report: DaemonStarted, context: Context) -> None:  # noqa: ARG001 - it says nothing more
    """Recover posts in hand; the bus itself starts the open commands again."""
    clean = context.unit.flag(STOPPED_FLAG) is not None
    context.unit.set_flag(STOPPED_FLAG, None)
    context.emit(
        EventType.DAEMON_STARTED,
        f"daemon/{context.rules.node}",
        {"boot": context.rules.boot, "version": context.rules.version, "after_clean_stop": clean},
    )
    for post in context.unit.in_hand(None):
        recover_post(post, context)
    context.wants_clock = True
