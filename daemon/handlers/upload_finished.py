"""The platform has all of it."""

from dataclasses import replace

from daemon.domain.events import EventType
from daemon.domain.post import State, Trigger, advance
from daemon.domain.reports import UploadFinished
from daemon.domain.verdicts import next_look
from daemon.handlers.attempt import attempt_of, post_in_hand
from daemon.handlers.context import Context


def handle(report: UploadFinished, context: Context) -> None:
    """Hand the post over to the status reads."""
    post = post_in_hand(context, report.post, report.fence)
    attempt = attempt_of(context, post)
    context.unit.save_attempt(replace(attempt, stored_bytes=attempt.size))
    look = next_look(State.PROCESSING, 0, context.now, context.now, context.policy)
    changed = advance(post, Trigger.ACCEPTED, context.now, wake_at=look, sent_bytes=attempt.size, claims=0)
    context.save(changed, EventType.POST_PROCESSING, publish_id=changed.publish_id, size=attempt.size)
    context.wants_clock = True
