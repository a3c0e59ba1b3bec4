"""The upload host has another chunk."""

from dataclasses import replace

from daemon.domain.events import EventType
from daemon.domain.post import State, Trigger, advance
from daemon.domain.reports import ChunkStored
from daemon.handlers.attempt import attempt_of, keep, lease, post_in_hand
from daemon.handlers.context import Context


def handle(report: ChunkStored, context: Context) -> None:
    """Remember the progress: a restart goes on from here."""
    post = post_in_hand(context, report.post, report.fence)
    attempt = attempt_of(context, post)
    context.unit.save_attempt(replace(attempt, stored_bytes=report.stored_bytes))
    if post.state is State.INITIALISED:
        post = advance(
            post, Trigger.UPLOAD, context.now, sent_bytes=report.stored_bytes, claims=0, **lease(context)
        )
        context.unit.save_post(post)
    else:
        post = keep(context, post, sent_bytes=report.stored_bytes, claims=0, **lease(context))
    if report.tell:
        context.tell_post(post, EventType.POST_PROGRESS, sent_bytes=report.stored_bytes, size=attempt.size)
