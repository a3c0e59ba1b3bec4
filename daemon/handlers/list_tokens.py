"""token/list: the tokens that were issued here."""

from typing import Any

from daemon.domain.access import token_view
from daemon.domain.commands import ListTokens
from daemon.handlers.context import Context


def handle(command: ListTokens, context: Context) -> dict[str, Any]:  # noqa: ARG001 - it has no arguments
    """Return every token, newest first, without its text."""
    return {"tokens": [token_view(token, context.now) for token in context.unit.tokens()]}
