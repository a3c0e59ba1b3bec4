"""A worker ended by an error that is nobody's decision: treat the post as after a crash."""

from daemon.domain.post import IN_HAND
from daemon.domain.reports import WorkDied
from daemon.handlers.context import Context
from daemon.handlers.recovery import recover_post


def handle(report: WorkDied, context: Context) -> None:
    """Recover the post by the crash table, unless somebody else has it already."""
    post = context.unit.post(report.post)
    if post is not None and post.fence == report.fence and post.state in IN_HAND:
        recover_post(post, context)
