"""What handlers and the intake share about the audit trail: which orders belong in it, and how they are noted."""

from collections.abc import Mapping
from typing import Any

from daemon.domain.audit import Entry, plain
from daemon.domain.commands import VERBS
from daemon.domain.errors import Code
from daemon.domain.wire import Request
from daemon.handlers.context import Context
from daemon.ports import StoredCommand


def is_worth_noting(request: Request, code: Code) -> bool:
    """Tell whether a refusal belongs into the audit trail: of what would have changed something, or was no order.

    A flood does not: whoever sends too much must not fill the disk with it.
    """
    verb = VERBS.get(request.verb)
    is_flood = code in {Code.RATE_LIMITED, Code.BUSY}
    return not is_flood and (verb is None or verb.has_effect or code is Code.FORBIDDEN)


def note(order: Request | StoredCommand, body: Mapping[str, Any], context: Context) -> None:
    """Add a word about an order to the audit trail. A dry run changes nothing and is not in it."""
    if isinstance(order, Request) and order.dry_run:
        return
    error = body.get("error")
    context.unit.add_audit(
        Entry(
            number=0, at=context.now, transport=order.transport, actor=plain(order.actor), verb=plain(order.verb),
            command_id=order.id, body_hash=order.body_hash, status=body["status"],
            code=error["code"] if error else None,
        )
    )  # fmt: skip
