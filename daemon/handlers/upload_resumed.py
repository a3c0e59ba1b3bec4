"""A worker goes on with an upload that was interrupted."""

from dataclasses import replace

from daemon.domain.post import State, Trigger, advance
from daemon.domain.reports import UploadResumed
from daemon.handlers.attempt import attempt_of, keep, lease, post_in_hand
from daemon.handlers.context import Context


def handle(report: UploadResumed, context: Context) -> None:
    """Note how far the platform says the upload is, and that the new worker has the attempt."""
    post = post_in_hand(context, report.post, report.fence)
    attempt = attempt_of(context, post)
    context.unit.save_attempt(replace(attempt, stored_bytes=report.stored_bytes, fence=report.fence))
    if post.state is State.INITIALISED:
        moved = advance(post, Trigger.UPLOAD, context.now, sent_bytes=report.stored_bytes, **lease(context))
        context.unit.save_post(moved)
    else:
        keep(context, post, sent_bytes=report.stored_bytes, **lease(context))
