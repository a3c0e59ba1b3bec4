"""What every report about an attempt needs: the post in the hands of that very attempt (rule R8)."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.errors import StaleAttempt
from daemon.domain.ids import PostId
from daemon.domain.post import IN_HAND, Attempt, Post
from daemon.handlers.context import Context


def post_in_hand(context: Context, post_id: PostId, fence: int) -> Post:
    """Return the post. Raises StaleAttempt where another attempt owns it or it has left the worker's hands."""
    post = context.unit.post(post_id)
    if post is None or post.fence != fence or post.state not in IN_HAND:
        raise StaleAttempt(f"post {post_id}: attempt with fence {fence} is over")
    return post


def attempt_of(context: Context, post: Post) -> Attempt:
    """Return the post's current attempt. Raises StaleAttempt where there is none."""
    attempt = context.unit.attempt(post.id, post.attempt)
    if attempt is None:
        raise StaleAttempt(f"post {post.id} has no attempt {post.attempt}")
    return attempt


def end_attempt(context: Context, post: Post, outcome: str) -> None:
    """Note that the post's current attempt, if it is still open, is over."""
    attempt = context.unit.attempt(post.id, post.attempt) if post.attempt else None
    if attempt is not None and attempt.ended_at is None:
        context.unit.save_attempt(replace(attempt, ended_at=context.now, outcome=outcome))


def lease(context: Context) -> dict[str, object]:
    """Return the changes that extend the worker's lease."""
    return {"wake_at": context.now + timedelta(seconds=context.policy.lease_s)}


def keep(context: Context, post: Post, **changes: object) -> Post:
    """Store a change that moves nothing and tells nobody."""
    changed = replace(post, version=post.version + 1, **changes)  # type: ignore[arg-type]
    context.unit.save_post(changed)
    return changed
