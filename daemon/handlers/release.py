"""Let held posts go on when the cause is gone; the late policy decides what is left of their time."""

from daemon.domain.events import EventType
from daemon.domain.ids import AccountName
from daemon.domain.post import Trigger, advance
from daemon.handlers.context import Context


def release_held(
    context: Context, reasons: tuple[str, ...], account: AccountName | None = None, *, at_once: bool = False
) -> int:
    """Move the posts held for one of these reasons back to the schedule; return how many.

    `at_once`: those, too, that were to be looked at later, because the cause is known to be gone.
    """
    posts = context.unit.held(None if at_once else context.now, reasons, account)
    for post in posts:
        wake_at = post.due_at or context.now
        changed = advance(post, Trigger.RELEASE, context.now, wake_at=wake_at, reason=None, detail=None)
        context.save(changed, EventType.POST_RELEASED)
    context.wants_clock = context.wants_clock or bool(posts)
    return len(posts)
