"""post/list: the posts, newest first."""

from typing import Any

from daemon.domain.commands import ListPosts
from daemon.domain.ids import AccountName
from daemon.domain.views import post_view
from daemon.handlers.context import Context


def handle(command: ListPosts, context: Context) -> dict[str, Any]:
    """Return a page of posts and the cursor of the next one; other users' posts are left out of it."""
    account = AccountName(command.account) if command.account else None
    posts, cursor = context.unit.posts(command.state, account, command.cursor, command.limit)
    return {"posts": [post_view(post) for post in posts if context.may_touch(post.consent.actor)]} | (
        {"cursor": cursor} if cursor else {}
    )
