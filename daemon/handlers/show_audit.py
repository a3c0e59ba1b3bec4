"""system/audit: what was ordered, by whom, and what came of it."""

from typing import Any

from daemon.domain.commands import ShowAudit
from daemon.handlers.context import Context


def handle(command: ShowAudit, context: Context) -> dict[str, Any]:
    """Return entries, oldest first; the number to ask after next; this node's latest number and its digest.

    `last` gives that many of the newest; `verb` is written as in a reply, post.schedule.
    """
    tail = context.unit.audit_tail()
    verb = command.verb.replace(".", "/") if command.verb else None
    if command.last is not None:
        found = context.unit.audit_last(command.last, command.actor, verb)
    else:
        found = context.unit.audit(command.after, command.limit, command.actor, verb)
    entries = [entry.as_dict() for entry in found]
    next_after = entries[-1]["number"] if entries else tail.number
    return {
        "entries": entries, "next_after": next_after, "latest": tail.number, "digest": tail.digest,
        "more": next_after < tail.number,
    }  # fmt: skip
