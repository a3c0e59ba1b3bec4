"""An attempt ended without a verdict of the platform."""

from daemon.domain.errors import Fault
from daemon.domain.post import State, Trigger
from daemon.domain.reports import AttemptFailed
from daemon.domain.verdicts import Decision, decide_failure
from daemon.handlers.attempt import post_in_hand
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out


def handle(report: AttemptFailed, context: Context) -> None:
    """Retry, hold, fail or doubt, as the class of the error says."""
    post = post_in_hand(context, report.post, report.fence)
    attempt = context.unit.attempt(post.id, post.attempt) if post.attempt else None
    decision = decide_failure(
        post, attempt, report.error, context.now, context.policy, context.rules.random()
    )
    if (
        report.url_is_dead
        and post.state in {State.INITIALISED, State.UPLOADING}
        and report.error.fault is Fault.TRANSIENT
    ):
        # The upload can never be finished, so it can never publish: begin a new one at once.
        decision = (
            Decision(
                trigger=Trigger.RETRY,
                wake_at=context.now,
                code=report.error.code,
                detail=report.error.message,
                costs_try=True,
            )
            if post.tries < len(context.policy.retry_delays_s)
            else decision
        )
    carry_out(decision, post, attempt, context, log_id=report.error.log_id, status=report.error.status)
