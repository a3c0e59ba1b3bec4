"""token/revoke: take a token back."""

from dataclasses import replace
from typing import Any

from daemon.domain.access import token_view
from daemon.domain.commands import RevokeToken
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.handlers.context import Context


def handle(command: RevokeToken, context: Context) -> dict[str, Any]:
    """Note it and tell it; one that was taken back before stays so. Raises Rejected(no_such_token)."""
    token = context.unit.token(command.token)
    if token is None:
        raise Rejected(
            Code.NO_SUCH_TOKEN,
            f"there is no token {command.token}; token/list shows them",
            field="args.token",
        )
    if token.revoked_at is None:
        token = replace(token, revoked_at=context.now)
        context.unit.revoke_token(token.id, context.now)
        told = {"token": token.id, "user": token.user}
        context.emit(EventType.TOKEN_REVOKED, f"token/{token.id}", told)
    return token_view(token, context.now)
