"""An attempt ended without a verdict of the platform."""

from daemon.domain.account import Login
from daemon.domain.errors import Fault
from daemon.domain.post import Attempt, Post, State, Trigger
from daemon.domain.reports import AttemptFailed
from daemon.domain.verdicts import Decision, decide_failure
from daemon.handlers.attempt import post_in_hand
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out


def handle(report: AttemptFailed, context: Context) -> None:
    """Retry, hold, fail or doubt, as the class of the error says."""
    post = post_in_hand(context, report.post, report.fence)
    attempt = context.unit.attempt(post.id, post.attempt) if post.attempt else None
    decision = _begin_anew(report, post, attempt, context) or decide_failure(
        post, attempt, report.error, context.now, context.policy, context.rules.random()
    )
    carry_out(decision, post, attempt, context, log_id=report.error.log_id, status=report.error.status)


def _begin_anew(
    report: AttemptFailed, post: Post, attempt: Attempt | None, context: Context
) -> Decision | None:
    """Return a retry at once where the cause is gone already, and nothing of this attempt can publish."""
    if (
        post.state is State.COMMITTING
        or post.inits_publish
        or post.tries >= len(context.policy.retry_delays_s)
    ):
        return None
    is_dead = report.url_is_dead and post.state in {State.INITIALISED, State.UPLOADING}
    if (is_dead and report.error.fault is Fault.TRANSIENT) or _is_linked_anew(report, post, attempt, context):
        return Decision(
            trigger=Trigger.RETRY, wake_at=context.now, code=report.error.code, detail=report.error.message,
            costs_try=True,
        )  # fmt: skip
    return None


def _is_linked_anew(report: AttemptFailed, post: Post, attempt: Attempt | None, context: Context) -> bool:
    """Tell whether the refusal is about tokens that a new link has replaced since this attempt began."""
    if report.error.fault is not Fault.AUTH or attempt is None:
        return False
    account = context.unit.account(post.account)
    return account is not None and account.login is Login.OK and account.linked_at > attempt.started_at
