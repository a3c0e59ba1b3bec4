"""The clock: read the due rows, hold what may not go out, claim the rest, look after what is under way."""

from dataclasses import replace
from datetime import datetime, timedelta

from daemon.domain.account import Login
from daemon.domain.post import IN_HAND, LateRule, Post, State, Trigger
from daemon.domain.reports import ClockTicked
from daemon.domain.verdicts import HOLD_DISABLED, HOLD_LATE, HOLD_LOGIN, HOLD_PAUSED, TIMED_HOLDS, Decision
from daemon.domain.work import Deliver
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out
from daemon.handlers.looking import look_now
from daemon.handlers.readable import release_readable
from daemon.handlers.recovery import recover_post
from daemon.handlers.release import release_held

PAGE = 200
WAITING = (State.SCHEDULED, State.RETRY_WAIT)
FOLLOWED = frozenset({State.PROCESSING, State.UNCERTAIN, State.SENT_TO_INBOX, State.PUBLISHED})


def handle(report: ClockTicked, context: Context) -> None:  # noqa: ARG001 - the clock says nothing but "now"
    """Do everything that is due; the bus arms the clock for the next time."""
    if context.rules.safe_mode is not None:
        return
    due = context.unit.states_due(context.now)
    context.unit.renew(sorted(context.driving), context.now, _lease(context))
    if due.keys() & IN_HAND:
        _recover(context)
    waiting = sum(due.get(state, 0) for state in WAITING)
    if State.HELD in due:
        waiting += release_held(context, TIMED_HOLDS) + release_readable(context)
    if waiting and (context.is_paused() or _claim(context) < waiting):
        _hold_barred(context)
    if due.keys() & FOLLOWED:
        _follow(context)


def _recover(context: Context) -> None:
    for post in context.unit.in_hand(context.now):
        if post.id not in context.driving:
            recover_post(post, context)


def _lease(context: Context) -> datetime:
    return context.now + timedelta(seconds=context.policy.lease_s)


def _claim(context: Context) -> int:
    ahead = context.policy.claim_ahead - len(context.driving)
    if ahead <= 0:
        return 0
    claimed = context.unit.claim_due(context.now, _lease(context), ahead)
    for post_id, fence in claimed:
        context.start(Deliver(post_id, fence))
    return len(claimed)


def _hold_barred(context: Context) -> None:
    paused = context.is_paused()
    for post in context.unit.due_but_barred(context.now, PAGE, all_of_them=paused):
        carry_out(_why_barred(post, context, paused=paused), post, None, context)


def _why_barred(post: Post, context: Context, *, paused: bool) -> Decision:
    account = context.unit.account(post.account)
    late_s = int((context.now - post.due_at).total_seconds()) if post.due_at else 0
    if late_s > post.late_after_s and post.late_rule is not LateRule.POST:
        detail = f"its time passed {late_s} s ago, more than the {post.late_after_s} s allowed"
        if post.late_rule is LateRule.FAIL:
            return Decision(trigger=Trigger.FAIL, code=HOLD_LATE, detail=detail)
        return Decision(
            trigger=Trigger.HOLD,
            code=HOLD_LATE,
            detail=detail + "; use post/publish_now, reschedule or cancel",
        )
    if paused:
        return Decision(trigger=Trigger.HOLD, code=HOLD_PAUSED, detail="posting is paused; use system/resume")
    if account is None or account.login is not Login.OK:
        detail = f"account {post.account} needs a login; link it with `tokd account link {post.account}`"
        return Decision(trigger=Trigger.HOLD, code=HOLD_LOGIN, detail=detail)
    return Decision(
        trigger=Trigger.HOLD,
        code=HOLD_DISABLED,
        detail=account.detail or f"account {post.account} is disabled",
    )


def _follow(context: Context) -> None:
    for post in context.unit.followable(context.now, PAGE):
        if post.publish_id is None:
            context.unit.save_post(replace(post, wake_at=None, version=post.version + 1))
            continue
        look_now(post, context)
