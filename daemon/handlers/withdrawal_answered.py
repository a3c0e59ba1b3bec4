"""The platform was asked to stop a post that it was fetching."""

from daemon.domain.errors import Code, Rejected
from daemon.domain.post import State
from daemon.domain.reports import WithdrawalAnswered
from daemon.handlers.attempt import keep
from daemon.handlers.context import Context


def handle(report: WithdrawalAnswered, context: Context) -> None:
    """Answer the cancel command by what the platform said; the status reads go on where it refused."""
    stored = context.unit.command(report.command)
    post = context.unit.post(report.post)
    if stored.reply is not None or post is None:
        return
    if report.error is None and post.state is State.PROCESSING:
        # The agreement is no verdict: only the status tells whether it was stopped in time. It is read at once.
        keep(context, post, wake_at=context.now)
        context.wants_clock = True
        note = "the platform has agreed to stop it; its status, read next, has the last word"
        result = {"post": post.id, "state": post.state.value, "note": note}
        context.finish(stored, {"status": "done", "result": result})
        return
    reason = report.error.message if report.error else f"it is {post.state} by now"
    refusal = Rejected(Code.TOO_LATE, f"post {post.id} could not be stopped: {reason}", field="args.post")
    context.finish(stored, {"status": "rejected", "error": refusal.as_dict()})
