"""system/resume: post again."""

from typing import Any

from daemon.domain.commands import Resume
from daemon.domain.events import EventType
from daemon.domain.restored import BEHIND_FLAG
from daemon.domain.verdicts import HOLD_PAUSED
from daemon.handlers.context import PAUSED_FLAG, Context
from daemon.handlers.health import daemon_view
from daemon.handlers.release import release_held


def handle(command: Resume, context: Context) -> dict[str, Any]:  # noqa: ARG001 - it has no arguments
    """Let the held posts go on; those whose time is over are held as late."""
    was = context.is_paused()
    context.unit.set_flag(PAUSED_FLAG, None)
    context.unit.set_flag(BEHIND_FLAG, None)
    released = release_held(context, (HOLD_PAUSED,))
    if was:
        actor = context.request.actor if context.request else ""
        context.emit(
            EventType.DAEMON_RESUMED, f"daemon/{context.rules.node}", {"released": released, "actor": actor}
        )
        context.publish_state("daemon", daemon_view(context))
    context.wants_clock = True
    return {"paused": False, "released": released}
