"""A worker has taken a claimed post: begin an attempt."""

from dataclasses import replace

from daemon.domain.errors import Fault, PlatformError
from daemon.domain.events import EventType
from daemon.domain.platform import Endpoint
from daemon.domain.post import Attempt, State, Trigger, advance
from daemon.domain.reports import AttemptStarted, Taken
from daemon.domain.verdicts import decide_failure
from daemon.handlers.attempt import attempt_of, lease, post_in_hand
from daemon.handlers.budget import spend
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out


def handle(report: AttemptStarted, context: Context) -> Taken | None:
    """Begin, or return None where the budget for creator calls is spent and the post waits."""
    post = post_in_hand(context, report.post, report.fence)
    account = context.unit.account(post.account)
    if account is None:
        error = PlatformError(Fault.AUTH, "no_account", f"account {post.account} is not linked any more")
        carry_out(decide_failure(post, None, error, context.now, context.policy, 1), post, None, context)
        return None
    if post.state is not State.CLAIMED:  # an upload that is being resumed
        return Taken(post, account, attempt_of(context, post))
    opens_at = spend(context, post.account, post.platform, Endpoint.CREATOR)
    if opens_at is not None:
        wait = (opens_at - context.now).total_seconds()
        error = PlatformError(Fault.RATE, "local_budget", "too many calls this minute", retry_after_s=wait)
        carry_out(decide_failure(post, None, error, context.now, context.policy, 1), post, None, context)
        return None
    attempt = Attempt(
        post=post.id,
        number=post.attempt + 1,
        fence=report.fence,
        node=context.rules.node,
        started_at=context.now,
    )
    context.unit.save_attempt(attempt)
    started = advance(
        post, Trigger.START, context.now, attempt=attempt.number, publish_id=None,
        sent_bytes=0, **lease(context),
    )  # fmt: skip
    started = context.save(started, EventType.POST_STARTED)
    return Taken(started, account, replace(attempt))
