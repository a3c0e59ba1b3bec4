"""Carry out a decision of domain/verdicts.py: the one place where posts end, wait, are held or doubted."""

from dataclasses import replace
from typing import Any

from daemon.domain.events import EventType
from daemon.domain.post import Attempt, Post, State, Trigger, advance
from daemon.domain.verdicts import Decision
from daemon.handlers.context import Context

EVENTS = {
    Trigger.RETRY: EventType.POST_RETRYING,
    Trigger.HOLD: EventType.POST_HELD,
    Trigger.FAIL: EventType.POST_FAILED,
    Trigger.DOUBT: EventType.POST_UNCERTAIN,
    Trigger.RESTORE: EventType.POST_UNCERTAIN,
    Trigger.ACCEPTED: EventType.POST_PROCESSING,
    Trigger.PUBLISH: EventType.POST_PUBLISHED,
    Trigger.INBOX: EventType.POST_SENT_TO_INBOX,
    Trigger.CANCEL: EventType.POST_CANCELLED,
    Trigger.REQUEUE: EventType.POST_RELEASED,
}
ENDS_ATTEMPT = {Trigger.RETRY, Trigger.HOLD, Trigger.FAIL, Trigger.PUBLISH, Trigger.INBOX, Trigger.CANCEL}


def carry_out(decision: Decision, post: Post, attempt: Attempt | None, context: Context, **told: Any) -> Post:
    """Move the post as decided, end its attempt where it is over, and touch the account where it must be."""
    if decision.trigger is None:
        changed = replace(
            post, wake_at=decision.wake_at, checks=post.checks + 1, version=post.version + 1, **_ids(told)
        )
        context.unit.save_post(changed)
    else:
        changed = advance(
            post,
            decision.trigger,
            context.now,
            wake_at=decision.wake_at,
            reason=decision.code,
            detail=decision.detail,
            tries=post.tries + decision.costs_try,
            remote_tries=post.remote_tries + decision.costs_remote_try,
            claims=post.claims if decision.after_crash else 0,
            **_ids(told),
        )
        changed = context.save(changed, EVENTS[decision.trigger], **_shown(changed, decision, told))
    if attempt is not None and decision.trigger in ENDS_ATTEMPT:
        outcome = decision.trigger.value if decision.trigger else None
        context.unit.save_attempt(
            replace(attempt, ended_at=context.now, outcome=outcome, error=decision.code)
        )
    if decision.needs_login:
        context.mark_needs_login(post.account, decision.detail or decision.code or "the tokens do not work")
    if decision.disables_account:
        context.disable_account(post.account, decision.detail or decision.code or "the platform refuses it")
    context.wants_clock = True
    return changed


def _ids(told: dict[str, Any]) -> dict[str, Any]:
    return {key: told[key] for key in ("public_ids", "url") if told.get(key)}


def _shown(post: Post, decision: Decision, told: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in told.items() if value}
    if "public_ids" in shown:
        shown["post_ids"] = list(shown.pop("public_ids"))
    if decision.wake_at is not None and post.state in {State.RETRY_WAIT, State.HELD}:
        shown["until"] = decision.wake_at.isoformat()
    if post.publish_id:
        shown["publish_id"] = post.publish_id
    return shown
