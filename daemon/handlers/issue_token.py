"""token/issue: make a token for a user of HTTP, and remember its name."""

from datetime import timedelta
from typing import Any

from daemon.domain.access import Token, token_view
from daemon.domain.commands import IssueToken
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.times import iso
from daemon.handlers.context import Context


def handle(command: IssueToken, context: Context) -> dict[str, Any]:
    """Return the token's text, this once. Raises Rejected(not_configured) where tokens come from elsewhere."""
    gate = context.rules.gate
    if gate is None:
        raise Rejected(Code.NOT_CONFIGURED, "tokens are for HTTP, which this tokd does not have")
    token = Token(
        id=context.rules.ids.token(), user=command.user, issued_at=context.now,
        expires_at=context.now + timedelta(days=command.days),
    )  # fmt: skip
    if context.request is not None and context.request.dry_run:
        return {"dry_run": True, "user": token.user, "expires_at": iso(token.expires_at)}
    text = gate.issue(token.user, token.id, context.now, token.expires_at)
    context.unit.add_token(token)
    told = {"token": token.id, "user": token.user, "expires_at": iso(token.expires_at)}
    context.emit(EventType.TOKEN_ISSUED, f"token/{token.id}", told)
    return token_view(token, context.now) | {"text": text}
