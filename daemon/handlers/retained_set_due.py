"""Publish one page of retained post states, and ask for the next one."""

from daemon.domain.reports import RetainedSetDue
from daemon.domain.views import post_view
from daemon.handlers.context import Context

PAGE = 200
WAITING_MAX = 2000
REST_FLAG = "retained_set_rest"  # "after:" and the last post of an incomplete set


def handle(report: RetainedSetDue, context: Context) -> None:
    """Publish a page; where the outbox is full already, the sweep comes back to it later."""
    if context.unit.count_unsent() > WAITING_MAX:
        context.unit.set_flag(REST_FLAG, f"after:{report.after or ''}")
        return
    posts = context.unit.open_posts(report.after, PAGE)
    for post in posts:
        context.publish_state(f"post/{post.id}", post_view(post))
    if len(posts) == PAGE:
        context.follow_ups.append(RetainedSetDue(posts[-1].id))
