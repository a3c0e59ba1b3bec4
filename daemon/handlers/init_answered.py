"""The platform gave a publish id: keep it, and the sealed upload address, before the first byte (rule R3)."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.errors import StaleAttempt
from daemon.domain.events import EventType
from daemon.domain.post import State, Trigger, advance
from daemon.domain.reports import InitAnswered
from daemon.domain.verdicts import next_look
from daemon.handlers.attempt import attempt_of, lease, post_in_hand
from daemon.handlers.context import Context
from daemon.handlers.sealing import under_newest_key


def handle(report: InitAnswered, context: Context) -> bool:
    """Store what the answer said; where the platform fetches the media itself, the post is in its hands now.

    False where the attempt is over: raising would undo the evidence that is kept then.
    """
    try:
        post = post_in_hand(context, report.post, report.fence)
    except StaleAttempt:
        _keep_evidence(report, context)
        return False
    attempt = attempt_of(context, post)
    expires_at = context.now + timedelta(seconds=report.upload_url_seconds)
    sealed = report.upload_url
    if sealed is not None:
        sealed = under_newest_key(context.rules.vault, "upload_url", post.id, sealed)
    context.unit.save_attempt(
        replace(attempt, publish_id=report.publish_id, upload_url=sealed, url_expires_at=expires_at)
    )
    changed = advance(
        post, Trigger.ANSWERED, context.now, publish_id=report.publish_id, claims=0, **lease(context)
    )
    if report.upload_url is not None:
        context.save(changed, EventType.POST_INITIALISED, publish_id=report.publish_id)
        return True
    look = next_look(State.PROCESSING, 0, context.now, context.now, context.policy)
    changed = advance(changed, Trigger.ACCEPTED, context.now, wake_at=look)
    context.save(changed, EventType.POST_PROCESSING, publish_id=report.publish_id)
    context.wants_clock = True
    return True


def _keep_evidence(report: InitAnswered, context: Context) -> None:
    """Where the post was doubted meanwhile, the id is what resolves the doubt."""
    post = context.unit.post(report.post)
    if post is not None and post.state is State.UNCERTAIN and post.publish_id is None:
        attempt = context.unit.attempt(post.id, post.attempt)
        if attempt is not None and attempt.fence == report.fence:
            kept = replace(post, publish_id=report.publish_id, wake_at=context.now, version=post.version + 1)
            context.unit.save_post(kept)
            context.wants_clock = True
