"""A worker ended by an error that is nobody's decision: treat the post as after a crash, but not at once."""

from daemon.domain.post import IN_HAND
from daemon.domain.reports import WorkDied
from daemon.domain.verdicts import recover_later
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out
from daemon.handlers.recovery import open_attempt


def handle(report: WorkDied, context: Context) -> None:
    """Try again later by the crash table, or give up, unless somebody else has the post already."""
    post = context.unit.post(report.post)
    if post is None or post.fence != report.fence or post.state not in IN_HAND:
        return
    attempt = open_attempt(post, context)
    decision = recover_later(post, attempt, context.now, context.policy, context.rules.random())
    carry_out(decision, post, attempt, context)
