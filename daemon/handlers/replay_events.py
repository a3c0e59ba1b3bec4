"""events/replay: the events after a sequence number."""

from typing import Any

from daemon.domain.commands import ReplayEvents
from daemon.handlers.context import Context


def handle(command: ReplayEvents, context: Context) -> dict[str, Any]:
    """Return the events, the number to ask after next, and the number of the latest one."""
    events = context.unit.events_after(command.after, command.limit)
    next_after = int(events[-1]["sequence"]) if events else command.after
    latest = context.unit.last_sequence()
    return {"events": events, "next_after": next_after, "latest": latest, "more": next_after < latest}
