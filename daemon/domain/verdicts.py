"""Decisions about a post that met trouble or got an answer: values in, a decision out, nothing done.

The classes and what follows from them are posts-and-schedulers.md sections 4.3 to 4.5.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import StatusAnswer, Verdict
from daemon.domain.policy import Policy
from daemon.domain.post import Attempt, Kind, LateRule, Post, State, Trigger

HOLD_LATE = "late"
HOLD_PAUSED = "paused"
HOLD_LOGIN = "account_needs_login"
HOLD_DISABLED = "account_disabled"
HOLD_SCOPE = "scope_missing"
HOLD_CAP = "cap_reached"
HOLD_CRASHES = "crashes_the_daemon"
HOLD_UNREADABLE = "account_unreadable"  # over as soon as the account can be read again
RESTORED = "restored"  # why it is uncertain: the ledger came back from a backup
TIMED_HOLDS = (HOLD_CAP,)  # over when their time is


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a post. `trigger` None leaves the state as it is and only sets the next look."""

    trigger: Trigger | None
    wake_at: datetime | None = None
    code: str | None = None
    detail: str | None = None
    costs_try: bool = False
    costs_remote_try: bool = False
    needs_login: bool = False  # the account, too
    disables_account: bool = False
    after_crash: bool = False  # nobody has reported: the count of claims goes on


def decide_failure(
    post: Post, attempt: Attempt | None, error: PlatformError, now: datetime, policy: Policy, jitter: float
) -> Decision:
    """Decide after an attempt ended without a verdict of the platform. `jitter` is 0 to 1."""
    words = f"{error.message}. {error.advice}".strip(". ") + "."
    if post.state is State.COMMITTING or _may_be_out(post, attempt, error):
        return Decision(
            trigger=Trigger.DOUBT,
            code="outcome_unknown",
            detail=f"{error.code}: nobody can know whether it was posted. tokd keeps reading the status and never "
            "posts it again by itself; look at the account, then use post/resolve",
            wake_at=next_look(State.UNCERTAIN, 0, now, now, policy) if post.publish_id else None,
        )
    match error.fault:
        case Fault.RATE:
            wait = min(error.retry_after_s or policy.rate_wait_s, policy.retry_after_max_s)
            return Decision(
                trigger=Trigger.RETRY, wake_at=now + timedelta(seconds=wait), code=error.code, detail=words
            )
        case Fault.AUTH:
            return Decision(trigger=Trigger.HOLD, code=HOLD_LOGIN, detail=words, needs_login=True)
        case Fault.SCOPE:
            return Decision(trigger=Trigger.HOLD, code=HOLD_SCOPE, detail=words)
        case Fault.CAP:
            until = now + timedelta(seconds=policy.cap_hold_s)
            return Decision(
                trigger=Trigger.HOLD, code=HOLD_CAP, detail=f"{error.code}: {words}", wake_at=until
            )
        case Fault.BANNED:
            return Decision(trigger=Trigger.FAIL, code=error.code, detail=words, disables_account=True)
        case Fault.UNREADABLE:
            detail = f"{words} tokd looks again by itself"
            return Decision(
                trigger=Trigger.HOLD, code=HOLD_UNREADABLE, detail=detail, wake_at=next_try(0, now, policy)
            )
        case Fault.TRANSIENT | Fault.UNKNOWN_OUTCOME:
            return _retry(post, error, now, policy, jitter)
        case _:
            return Decision(trigger=Trigger.FAIL, code=error.code, detail=words)


def _may_be_out(post: Post, attempt: Attempt | None, error: PlatformError) -> bool:
    """Tell whether an init call that publishes by itself may have been carried out."""
    return (
        post.inits_publish
        and post.state is State.INITIALISED
        and attempt is not None
        and attempt.init_sent_at is not None
        and error.fault is Fault.UNKNOWN_OUTCOME
    )


def _retry(post: Post, error: PlatformError, now: datetime, policy: Policy, jitter: float) -> Decision:
    if post.tries >= len(policy.retry_delays_s):
        return Decision(
            trigger=Trigger.FAIL,
            code="retries_spent",
            detail=f"gave up after {post.tries + 1} attempts; the last said {error.code}: {error.message}",
        )
    wake_at = next_try(post.tries, now, policy, jitter)
    if post.late_rule is not LateRule.POST and post.due_at is not None:
        deadline = post.due_at + timedelta(seconds=post.late_after_s)
        if wake_at > deadline:
            return Decision(
                trigger=Trigger.FAIL,
                code="too_late",
                detail=f"still failing ({error.code}) when its time was over by {post.late_after_s} s",
            )
    return Decision(
        trigger=Trigger.RETRY, wake_at=wake_at, code=error.code, detail=error.message, costs_try=True
    )


def next_try(tries: int, now: datetime, policy: Policy, jitter: float = 1) -> datetime:
    """Return when to try again after so many tries that came to nothing; the last delay repeats."""
    delays = policy.retry_delays_s or (policy.retry_after_max_s,)
    return now + timedelta(seconds=delays[min(tries, len(delays) - 1)] * max(0.1, jitter))


def decide_status(
    post: Post, attempt: Attempt | None, answer: StatusAnswer, now: datetime, policy: Policy
) -> Decision:
    """Decide after a status read. A platform's word is final; no word for long is doubt."""
    match answer.verdict:
        case Verdict.PUBLISHED if post.state in {State.PUBLISHED}:
            wake_at = (
                None
                if answer.public_ids
                else next_look(post.state, post.checks + 1, post.state_since, now, policy)
            )
            return Decision(trigger=None, wake_at=wake_at)
        case Verdict.PUBLISHED:
            return Decision(trigger=Trigger.PUBLISH, wake_at=_look_for_id(post, answer, now, policy))
        case Verdict.SENT_TO_INBOX if not post.is_final:
            return Decision(
                trigger=Trigger.INBOX, wake_at=next_look(State.SENT_TO_INBOX, 0, now, now, policy)
            )
        case Verdict.FAILED if post.state is State.UNCERTAIN and post.reason == RESTORED:
            # The platform speaks of the attempt that the backup knows; a later one may have gone out.
            return Decision(
                trigger=None, wake_at=next_look(post.state, post.checks + 1, post.state_since, now, policy)
            )
        case Verdict.FAILED if post.state in {
            State.PROCESSING,
            State.COMMITTING,
            State.UNCERTAIN,
            State.UPLOADING,
            State.INITIALISED,
        }:
            return _decide_refusal(post, answer, now, policy)
        case _:
            return _decide_pending(post, attempt, answer, now, policy)


def _look_for_id(post: Post, answer: StatusAnswer, now: datetime, policy: Policy) -> datetime | None:
    # Public posts get their id after moderation; private ones never do.
    if answer.public_ids or post.description.privacy == "SELF_ONLY":
        return None
    return next_look(State.PUBLISHED, 0, now, now, policy)


def _decide_refusal(post: Post, answer: StatusAnswer, now: datetime, policy: Policy) -> Decision:
    code = answer.fail_code or "failed"
    detail = answer.fail_advice or f"the platform says {code}"
    fault = answer.fail_fault
    again = fault is Fault.REMOTE_INTERNAL or (fault is Fault.REMOTE_PULL and post.kind is Kind.PHOTO)
    if again and post.state is not State.UNCERTAIN and post.remote_tries < len(policy.remote_retry_delays_s):
        # A new attempt is safe: the platform itself has said no.
        wait = timedelta(seconds=policy.remote_retry_delays_s[post.remote_tries])
        return Decision(
            trigger=Trigger.RETRY, wake_at=now + wait, code=code, detail=detail, costs_remote_try=True
        )
    if fault is Fault.CANCELLED and post.state is not State.COMMITTING:
        return Decision(trigger=Trigger.CANCEL, code=code, detail=detail)
    if fault is Fault.CAP and post.state is State.PROCESSING:
        until = now + timedelta(seconds=policy.cap_hold_s)
        return Decision(trigger=Trigger.HOLD, code=HOLD_CAP, detail=detail, wake_at=until)
    return Decision(
        trigger=Trigger.FAIL,
        code=code,
        detail=detail,
        needs_login=fault is Fault.AUTH,
        disables_account=fault is Fault.BANNED,
    )


def _decide_pending(
    post: Post, attempt: Attempt | None, answer: StatusAnswer, now: datetime, policy: Policy
) -> Decision:
    has_all = attempt is None or answer.stored_bytes is None or answer.stored_bytes >= attempt.size
    if post.state is State.COMMITTING or (post.state is State.UNCERTAIN and post.reason == "outcome_unknown"):
        if has_all and post.state is State.COMMITTING:
            return Decision(
                trigger=Trigger.ACCEPTED, wake_at=next_look(State.PROCESSING, 0, now, now, policy)
            )
        if has_all and post.publish_id and answer.stored_bytes is not None:
            return Decision(
                trigger=Trigger.ACCEPTED, wake_at=next_look(State.PROCESSING, 0, now, now, policy)
            )
    if (
        post.state is State.PROCESSING
        and (now - post.state_since).total_seconds() >= policy.uncertain_after_s
    ):
        return Decision(
            trigger=Trigger.DOUBT,
            code="no_verdict",
            detail=f"the platform still says {answer.raw} after {policy.uncertain_after_s:g} s. tokd keeps reading "
            "and never posts it again by itself; look at the account, then use post/resolve",
            wake_at=next_look(State.UNCERTAIN, 0, now, now, policy),
        )
    return Decision(
        trigger=None, wake_at=next_look(post.state, post.checks + 1, post.state_since, now, policy)
    )


def decide_unread(post: Post, error: PlatformError, now: datetime, policy: Policy) -> Decision:
    """Decide after a status read that did not come back: the post itself is not touched by it."""
    wake_at = next_look(post.state, post.checks + 1, post.state_since, now, policy)
    if error.fault is Fault.RATE and wake_at is not None:
        wait = min(error.retry_after_s or policy.rate_wait_s, policy.retry_after_max_s)
        wake_at = max(wake_at, now + timedelta(seconds=wait))
    spent = (now - post.state_since).total_seconds() >= policy.uncertain_after_s
    unknown = error.fault in {Fault.CONTENT, Fault.UNKNOWN_CODE, Fault.UNKNOWN_OUTCOME}
    if post.state in {State.PROCESSING, State.COMMITTING} and (
        spent or unknown or post.state is State.COMMITTING
    ):
        return Decision(
            trigger=Trigger.DOUBT,
            code="status_unknown" if unknown else "no_verdict",
            detail=f"{error.code}: {error.message}. Look at the account, then use post/resolve",
            wake_at=next_look(State.UNCERTAIN, 0, now, now, policy),
            needs_login=error.fault is Fault.AUTH,
        )
    return Decision(trigger=None, wake_at=wake_at, needs_login=error.fault is Fault.AUTH)


def next_look(state: State, checks: int, since: datetime, now: datetime, policy: Policy) -> datetime | None:
    """Return when to read the status again after `checks` reads in this state; None for never."""
    if state in {State.PROCESSING, State.COMMITTING}:
        delays = policy.status_delays_s
        return now + timedelta(seconds=delays[min(checks, len(delays) - 1)])
    if state is State.UNCERTAIN and checks == 0:
        return now + timedelta(seconds=policy.status_delays_s[0])
    steps = policy.uncertain_steps if state is State.UNCERTAIN else policy.finished_steps
    age = (now - since).total_seconds()
    every = next((every for until, every in steps if age < until), None)
    return None if every is None else now + timedelta(seconds=every)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What to do with a post found in hand after a crash: a decision, or an upload to go on with."""

    decision: Decision | None
    resume: bool = False


def recover(post: Post, attempt: Attempt | None, now: datetime, policy: Policy) -> Recovery:
    """Return the crash table's action (posts-and-schedulers.md section 4.3) for a post that nobody drives."""
    has_upload = attempt is not None and attempt.publish_id is not None
    if post.claims >= policy.crashes_max and not (post.inits_publish and post.state is State.INITIALISED):
        return Recovery(_give_up(post, now, policy))
    if post.state in {State.CLAIMED, State.VALIDATING}:
        return Recovery(
            Decision(
                trigger=Trigger.REQUEUE,
                wake_at=post.due_at or now,
                detail="interrupted before anything was sent",
                after_crash=True,
            )
        )
    if has_upload:
        return Recovery(None, resume=True)
    if post.inits_publish or post.state is State.COMMITTING:
        return Recovery(
            Decision(
                trigger=Trigger.DOUBT,
                code="outcome_unknown",
                detail="interrupted while the platform was told to publish it: nobody can know whether it was "
                "posted. Look at the account, then use post/resolve",
            )
        )
    # No bytes have left, so nothing can appear: the lost init is counted in the budget and made anew.
    return Recovery(
        Decision(
            trigger=Trigger.RETRY,
            wake_at=now,
            code="interrupted",
            detail="interrupted during init",
            after_crash=True,
        )
    )


def recover_later(
    post: Post, attempt: Attempt | None, now: datetime, policy: Policy, jitter: float
) -> Decision:
    """Return the crash table's action for a post whose worker has died while tokd goes on: not at once, but later.

    What ended the worker is still there most of the time, so the same at once would turn in circles.
    """
    found = recover(post, attempt, now, policy)
    if found.decision is not None and found.decision.trigger not in {Trigger.REQUEUE, Trigger.RETRY}:
        return found.decision
    if post.claims > len(policy.retry_delays_s):
        return _give_up(post, now, policy)
    wake_at = next_try(
        max(post.claims - 1, 0), now, policy, jitter
    )  # a step that got anywhere has set it to 0
    if found.resume:
        # It stays in hand, where its upload is not lost; its lease ends then, and the clock takes it up.
        return Decision(trigger=None, wake_at=wake_at)
    return Decision(
        trigger=Trigger.RETRY,
        wake_at=wake_at,
        code="interrupted",
        detail="tokd failed while it worked on this post, before anything could appear; its log says more",
        after_crash=True,
    )


def _give_up(post: Post, now: datetime, policy: Policy) -> Decision:
    """Stop taking up a post that has ended its worker too often; past the point of no return it is doubted."""
    detail = f"tokd failed or ended {post.claims} times while it worked on this post; look at the log, then "
    if post.state is State.COMMITTING:
        return Decision(
            trigger=Trigger.DOUBT,
            code="outcome_unknown",
            detail=detail + "at the account, and use post/resolve",
            wake_at=next_look(State.UNCERTAIN, 0, now, now, policy) if post.publish_id else None,
        )
    return Decision(trigger=Trigger.HOLD, code=HOLD_CRASHES, detail=detail + "publish_now")
