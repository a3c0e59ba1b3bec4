"""The init call is about to leave: write the intent down first (rule R2)."""

from dataclasses import replace
from typing import Any

from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import Endpoint
from daemon.domain.post import Trigger, advance
from daemon.domain.reports import InitIntended
from daemon.domain.verdicts import decide_failure
from daemon.handlers.attempt import attempt_of, lease, post_in_hand
from daemon.handlers.budget import spend
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out


def handle(report: InitIntended, context: Context) -> bool:
    """Return whether the call may be made; where the budget is spent the post waits, at no cost of a try."""
    post = post_in_hand(context, report.post, report.fence)
    attempt = attempt_of(context, post)
    opens_at = spend(context, post.account, post.platform, Endpoint.INIT)
    if opens_at is not None:
        wait = (opens_at - context.now).total_seconds()
        error = PlatformError(
            Fault.RATE, "local_budget", "too many posts begun this minute", retry_after_s=wait
        )
        carry_out(
            decide_failure(post, attempt, error, context.now, context.policy, 1), post, attempt, context
        )
        return False
    plan = report.plan
    sizes: dict[str, Any] = (
        {"size": plan.size, "chunk_size": plan.chunk_size, "chunk_count": plan.count} if plan else {}
    )
    context.unit.save_attempt(replace(attempt, init_sent_at=context.now, init_hash=report.body_hash, **sizes))
    context.unit.save_post(advance(post, Trigger.INTEND, context.now, **lease(context)))
    return True
