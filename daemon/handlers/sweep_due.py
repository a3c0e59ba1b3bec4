"""Housekeeping: forget what is old, clear retained states, renew tokens ahead of time, end what a dead node left."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.account import Login
from daemon.domain.ids import PostId
from daemon.domain.reports import RetainedSetDue, RetentionDue, SweepDue
from daemon.domain.work import RefreshAccount, SweepMedia, SweepSessions, UnlinkTokens
from daemon.handlers.context import Context
from daemon.handlers.health import daemon_view
from daemon.handlers.retained_set_due import REST_FLAG

PAGE = 200


def handle(report: SweepDue, context: Context) -> None:  # noqa: ARG001 - it says nothing more
    """Keep the database and the broker small and the tokens fresh."""
    if context.rules.safe_mode is not None:
        return
    now, policy = context.now, context.policy
    context.follow_ups.append(RetentionDue())
    context.start(SweepSessions())
    context.start(SweepMedia())
    for post in context.unit.finished_retained(now - timedelta(seconds=policy.state_keep_s), PAGE):
        context.unit.save_post(replace(post, retained=False, version=post.version + 1))
        context.publish_state(f"post/{post.id}", None)
    rest = context.unit.flag(REST_FLAG)
    if rest is not None:
        context.unit.set_flag(REST_FLAG, None)
        after = rest.removeprefix("after:")
        context.follow_ups.append(RetainedSetDue(PostId(after) if after else None))
    soon = now + timedelta(seconds=policy.refresh_margin_s)
    for account in context.unit.accounts():
        if account.login is Login.OK and account.access_expires_at <= soon:
            context.start(RefreshAccount(account.name))
        elif account.is_left_at(now):
            context.start(UnlinkTokens(0, account.name))
    context.publish_state(
        "daemon", daemon_view(context)
    )  # a sign of life: readers may count on one in a while
    context.wants_clock = True
