"""system/pause: stop posting."""

from typing import Any

from daemon.domain.commands import Pause
from daemon.domain.events import EventType
from daemon.handlers.context import PAUSED_FLAG, Context
from daemon.handlers.health import daemon_view


def handle(command: Pause, context: Context) -> dict[str, Any]:
    """Hold every post that becomes due; what is under way goes on. Stays on through a restart."""
    was = context.is_paused()
    context.unit.set_flag(PAUSED_FLAG, command.reason or "paused")
    if not was:
        actor = context.request.actor if context.request else ""
        context.emit(
            EventType.DAEMON_PAUSED,
            f"daemon/{context.rules.node}",
            {"reason": command.reason, "actor": actor},
        )
        context.publish_state("daemon", daemon_view(context))
    return {"paused": True}
