"""post/reschedule: give a waiting post another time."""

from datetime import timedelta
from typing import Any

from daemon.domain.commands import ReschedulePost
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.post import MOVES, Post, Trigger, advance
from daemon.domain.times import NO_ZONE, iso, parse_future, zone_of
from daemon.domain.views import local_time
from daemon.handlers.context import Context


def handle(command: ReschedulePost, context: Context) -> dict[str, Any]:
    """Move the post to its new time. Raises Rejected: already_final, too_late, bad_time."""
    post = context.require_post(command.post)
    if command.zone is not None:
        zone_of(command.zone)
    grace = timedelta(seconds=context.policy.past_grace_s)
    # Where nobody has named a zone, a time without an offset is refused, as at the first time: it would be a guess.
    zone = command.zone or (post.zone if post.zone != NO_ZONE else None)
    due_at = parse_future(command.at, zone, context.now, grace)
    refuse_unless_possible(post, Trigger.SCHEDULE, "moved")
    late = (
        {"late_rule": command.if_late.policy, "late_after_s": command.if_late.after_s}
        if command.if_late
        else {}
    )
    changed = advance(
        post, Trigger.SCHEDULE, context.now,
        due_at=due_at, wake_at=due_at, zone=command.zone or post.zone, reason=None, detail=None, tries=0, claims=0,
        **late,
    )  # fmt: skip
    changed = context.save(changed, EventType.POST_RESCHEDULED, at=iso(due_at))
    context.wants_clock = True
    return {"post": post.id, "state": changed.state.value, "at": iso(due_at), "at_local": local_time(changed)}


def refuse_unless_possible(post: Post, trigger: Trigger, word: str) -> None:
    """Raise Rejected(already_final or too_late) where the state table has no such move."""
    if post.is_final:
        raise Rejected(
            Code.ALREADY_FINAL,
            f"post {post.id} is {post.state}: it cannot be {word} any more",
            field="args.post",
        )
    if (post.state, trigger) not in MOVES:
        raise Rejected(
            Code.TOO_LATE, f"post {post.id} is {post.state}: it cannot be {word} any more", field="args.post"
        )
