"""A post that nobody drives any more: do what the crash table says."""

from dataclasses import replace

from daemon.domain.events import EventType
from daemon.domain.post import Attempt, Post, State, readopt
from daemon.domain.verdicts import recover
from daemon.domain.work import Deliver
from daemon.handlers.attempt import lease
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out


def open_attempt(post: Post, context: Context) -> Attempt | None:
    """Return the attempt that the post is at; None where its claim had not begun one."""
    attempt = context.unit.attempt(post.id, post.attempt) if post.attempt else None
    return attempt if attempt is not None and attempt.ended_at is None else None


def recover_post(post: Post, context: Context) -> None:
    """Put the post back, doubt it, or go on with its upload under a new fence."""
    if post.state is State.CLAIMED:
        # No worker has begun with it, so it cannot be what ended the daemon: this claim does not count.
        post = replace(post, claims=max(0, post.claims - 1))
    attempt = open_attempt(post, context)
    found = recover(post, attempt, context.now, context.policy)
    if found.decision is not None:
        carry_out(found.decision, post, attempt, context)
        return
    until = lease(context)["wake_at"]
    changed = readopt(post, context.rules.node, until)  # type: ignore[arg-type]
    context.unit.save_post(changed)
    context.tell_post(changed, EventType.POST_STARTED, resumed=True)
    context.start(Deliver(changed.id, changed.fence, resume=True))
