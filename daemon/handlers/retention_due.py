"""Forget what is old, some rows at a time: a sweep must not hold up the bus, however much there is."""

from datetime import timedelta

from daemon.domain.reports import RetentionDue
from daemon.handlers.context import Context
from daemon.handlers.hint_received import KEEP

PAGE = 500
POSTS_PAGE = 200  # with their attempts
AUDIT_PAGE = 2000
KEEP_LINKS_S = 86400  # so that a late answer is told why


def handle(report: RetentionDue, context: Context) -> None:
    """Remove one page, and come back for the next one behind whatever waits by then."""
    now, policy, unit = context.now, context.policy, context.unit
    old = now - timedelta(seconds=policy.keep_s)
    # What outlives its post would let the same file, or the same task, be posted twice without a word.
    very_old = now - timedelta(seconds=max(policy.keep_s, policy.duplicate_window_s))
    for drop, before, limit in (
        (unit.drop_commands, old, PAGE),
        (unit.drop_outbox, old, PAGE),
        (unit.drop_sessions, old, PAGE),
        (unit.drop_tokens, old, PAGE),
        (unit.drop_tasks, very_old, POSTS_PAGE),
        (unit.drop_posts, very_old, POSTS_PAGE),
        (unit.drop_hints, now - KEEP, PAGE),
        (unit.drop_links, now - timedelta(seconds=KEEP_LINKS_S), PAGE),
        (unit.drop_calls, now - timedelta(hours=1), PAGE),
    ):
        if drop(before, limit) >= limit:
            context.follow_ups.append(report)
            return
    if policy.audit_keep_s:
        cut = unit.cut_audit(now - timedelta(seconds=policy.audit_keep_s), AUDIT_PAGE)
        if cut >= AUDIT_PAGE:
            context.follow_ups.append(report)
