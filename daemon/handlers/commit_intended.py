"""The last chunk is about to leave: the point of no return, on disk first (rule R4)."""

from dataclasses import replace

from daemon.domain.post import Trigger, advance
from daemon.domain.reports import CommitIntended
from daemon.handlers.attempt import attempt_of, lease, post_in_hand
from daemon.handlers.context import Context


def handle(report: CommitIntended, context: Context) -> None:
    """From here on only reads may be repeated."""
    post = post_in_hand(context, report.post, report.fence)
    attempt = attempt_of(context, post)
    context.unit.save_attempt(replace(attempt, commit_sent_at=context.now))
    context.unit.save_post(advance(post, Trigger.COMMIT, context.now, **lease(context)))
