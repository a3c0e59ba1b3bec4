"""post/status: everything about one post."""

from typing import Any

from daemon.domain.commands import ShowPost
from daemon.domain.views import full_view
from daemon.handlers.context import Context


def handle(command: ShowPost, context: Context) -> dict[str, Any]:
    """Return the post with its consent, file and attempts."""
    post = context.require_post(command.post)
    return full_view(post, context.unit.attempts(post.id))
