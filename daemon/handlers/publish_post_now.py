"""post/publish_now: make a waiting post due at once."""

from typing import Any

from daemon.domain.commands import PublishPostNow
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.ids import AccountName
from daemon.domain.post import Trigger, advance
from daemon.domain.times import iso
from daemon.handlers.context import Context
from daemon.handlers.reschedule_post import refuse_unless_possible
from daemon.handlers.schedule_post import DEFAULT_PLATFORM


def handle(command: PublishPostNow, context: Context) -> dict[str, Any]:
    """Make the post, or the account's next one, due now. Raises Rejected: no_such_post, already_final, too_late."""
    if (command.post is None) == (command.account is None):
        raise Rejected(Code.BAD_FIELD, "give either post or account", field="args.post")
    context.platform(DEFAULT_PLATFORM)  # first: without credentials that is what a person must know
    if command.post is not None:
        post = context.require_post(command.post)
    else:
        account = context.require_account(command.account or "")
        found = context.unit.next_post(AccountName(account.name))
        if found is None:
            raise Rejected(
                Code.NO_SUCH_POST, f"account {account.name} has no waiting post", field="args.account"
            )
        post = found
    context.platform(post.platform)
    refuse_unless_possible(post, Trigger.SCHEDULE, "published now")
    changed = advance(
        post, Trigger.SCHEDULE, context.now,
        due_at=context.now, wake_at=context.now, reason=None, detail=None, tries=0, claims=0,
    )  # fmt: skip
    changed = context.save(changed, EventType.POST_RESCHEDULED, at=iso(context.now))
    context.wants_clock = True
    warnings = ["posting is paused; the post is held until system/resume"] if context.is_paused() else []
    return {"post": post.id, "state": changed.state.value, "at": iso(context.now)} | (
        {"warnings": warnings} if warnings else {}
    )
