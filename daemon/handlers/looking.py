"""Let a post's status be read now, within the local budget."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.platform import Endpoint
from daemon.domain.post import Post
from daemon.domain.work import Follow
from daemon.handlers.budget import spend
from daemon.handlers.context import Context


def look_now(post: Post, context: Context) -> bool:
    """Start the read and return True, or let the clock look again when the budget opens."""
    opens_at = spend(context, post.account, post.platform, Endpoint.STATUS)
    # The read's own report sets the next look; this one only counts where the read is lost.
    again_at = opens_at or context.now + timedelta(seconds=max(60, context.policy.lease_s / 4))
    context.unit.save_post(replace(post, wake_at=again_at, version=post.version + 1))
    context.ring_at(again_at)
    if opens_at is None:
        context.start(Follow(post.id, post.fence))
    return opens_at is None
