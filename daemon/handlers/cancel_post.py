"""post/cancel: stop a post as long as nothing can have been published."""

from typing import Any

from daemon.domain.commands import CancelPost
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.post import Post, State, Trigger, advance
from daemon.domain.work import Withdraw
from daemon.handlers.attempt import end_attempt
from daemon.handlers.context import Accepted, Context


def handle(command: CancelPost, context: Context) -> dict[str, Any] | Accepted:
    """Cancel the post. Raises Rejected: already_final, too_late."""
    post = context.require_post(command.post)
    if post.is_final:
        raise Rejected(Code.ALREADY_FINAL, f"post {post.id} is already {post.state}", field="args.post")
    if post.state is State.PROCESSING and post.inits_publish and context.row is not None:
        # The platform is still fetching: it may agree to stop, and only it can say.
        return Accepted(Withdraw(context.row, post.id))
    if _may_be_out(post):
        raise Rejected(
            Code.TOO_LATE,
            f"post {post.id} is {post.state}: the platform has it already"
            + ("; use post/resolve once you know" if post.state is State.UNCERTAIN else ""),
            field="args.post",
        )
    # The new fence stops a worker that is at it: its next step is refused before it can be taken.
    changed = advance(
        post, Trigger.CANCEL, context.now, fence=post.fence + 1, wake_at=None, reason=None, detail=None
    )
    context.save(changed, EventType.POST_CANCELLED)
    end_attempt(context, changed, "cancel")
    context.wants_clock = True
    return {"post": post.id, "state": changed.state.value}


def _may_be_out(post: Post) -> bool:
    return post.state in {State.COMMITTING, State.PROCESSING, State.UNCERTAIN} or (
        post.state is State.INITIALISED and post.inits_publish
    )
