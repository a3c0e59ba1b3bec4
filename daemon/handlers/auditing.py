"""What handlers and the intake share about the audit trail: which orders belong in it, and how they are noted."""

from collections.abc import Mapping
from typing import Any

from daemon.domain.audit import Entry, plain
from daemon.domain.commands import VERBS
from daemon.domain.errors import Code
from daemon.domain.ids import SELF_ACTOR
from daemon.domain.wire import Request
from daemon.handlers.context import Context
from daemon.ports import StoredCommand

_KNOCKS = frozenset({Code.NO_SUCH_LINK, Code.BAD_FIELD, Code.BAD_JSON, Code.TOO_LARGE})


def is_own_question(request: Request) -> bool:
    """Tell whether a route of tokd's own asks something (`/readyz`), whoever made it ask."""
    verb = VERBS.get(request.verb)
    return request.actor == SELF_ACTOR and request.error is None and verb is not None and not verb.has_effect


def is_strangers_knock(request: Request, code: Code) -> bool:
    """Tell whether this is a guess at the login's callback, which is open to all: nobody knew a state that counts.

    The trail is kept for ever, or for long, so a stranger must not be able to write into it.
    """
    return request.actor == SELF_ACTOR and code in _KNOCKS


def is_worth_noting(request: Request, code: Code) -> bool:
    """Tell whether a refusal belongs into the audit trail: of what would have changed something, or was no order.

    A flood does not: whoever sends too much must not fill the disk with it.
    """
    verb = VERBS.get(request.verb)
    is_flood = code in {Code.RATE_LIMITED, Code.BUSY}
    is_flood = is_flood or is_strangers_knock(request, code)
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
