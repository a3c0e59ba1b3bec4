"""The platform was asked to stop a post that it was fetching."""

from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.post import State, Trigger, advance
from daemon.domain.reports import WithdrawalAnswered
from daemon.handlers.attempt import end_attempt
from daemon.handlers.context import Context


def handle(report: WithdrawalAnswered, context: Context) -> None:
    """Answer the cancel command by what the platform said; the status reads go on where it refused."""
    stored = context.unit.command(report.command)
    post = context.unit.post(report.post)
    if stored.reply is not None or post is None:
        return
    if report.error is None and post.state is State.PROCESSING:
        changed = advance(post, Trigger.CANCEL, context.now, wake_at=None, fence=post.fence + 1)
        context.save(changed, EventType.POST_CANCELLED)
        end_attempt(context, changed, "cancel")
        context.finish(stored, {"status": "done", "result": {"post": post.id, "state": changed.state.value}})
        return
    reason = report.error.message if report.error else f"it is {post.state} by now"
    refusal = Rejected(Code.TOO_LATE, f"post {post.id} could not be stopped: {reason}", field="args.post")
    context.finish(stored, {"status": "rejected", "error": refusal.as_dict()})
