"""The file, or what the creator may do, forbids the post."""

from daemon.domain.post import Trigger
from daemon.domain.reports import ValidationFailed
from daemon.domain.verdicts import Decision
from daemon.handlers.attempt import attempt_of, post_in_hand
from daemon.handlers.context import Context
from daemon.handlers.decisions import carry_out


def handle(report: ValidationFailed, context: Context) -> None:
    """End the post as failed, with every problem and its hint."""
    post = post_in_hand(context, report.post, report.fence)
    words = "; ".join(
        f"{problem.message} ({problem.hint})" if problem.hint else problem.message
        for problem in report.problems
    )
    decision = Decision(trigger=Trigger.FAIL, code=report.code, detail=words)
    problems = [problem.as_dict() for problem in report.problems]
    carry_out(decision, post, attempt_of(context, post), context, problems=problems)
