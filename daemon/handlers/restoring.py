"""The first start after `tokd restore` or `tokd db accept`: doubt what may have gone out since, and post nothing."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.account import Login
from daemon.domain.events import EventType
from daemon.domain.post import IN_HAND, State, Trigger
from daemon.domain.restored import BEHIND_FLAG, RESTORED_FLAG, Restored, may_have_gone_out, read_restored
from daemon.domain.verdicts import RESTORED, Decision, next_look
from daemon.domain.work import RefreshAccount
from daemon.handlers.context import PAUSED_FLAG, Context
from daemon.handlers.decisions import carry_out

PAGE = 200
_OPEN = (
    State.DRAFT,
    State.SCHEDULED,
    State.HELD,
    State.RETRY_WAIT,
    *sorted(IN_HAND),
    State.PROCESSING,
    State.UNCERTAIN,
)


def take_stock(context: Context) -> None:
    """Do what a restored ledger needs, once; nothing where the ledger did not go back."""
    text = context.unit.flag(RESTORED_FLAG)
    if text is None:
        return
    restored = read_restored(text)
    doubted = sum(_doubt(state, restored, context) for state in _OPEN)
    for account in context.unit.accounts():
        if account.login is Login.OK:
            # Its tokens may have been renewed since, and then these are dead: find out before they are needed.
            context.save_account(
                replace(
                    account,
                    access_expires_at=context.now - timedelta(seconds=1),
                    refresh_node=None,
                    refresh_until=None,
                )
            )
            context.start(RefreshAccount(account.name))
    context.unit.set_flag(RESTORED_FLAG, None)
    context.unit.set_flag(BEHIND_FLAG, text)
    context.unit.set_flag(PAUSED_FLAG, "the ledger went back to an earlier state")
    told = {
        "reason": "restored",
        "taken_at": restored.taken_at,
        "restored_at": restored.restored_at,
        "uncertain": doubted,
    }
    context.emit(EventType.DAEMON_PAUSED, f"daemon/{context.rules.node}", told)


def _doubt(state: State, restored: Restored, context: Context) -> int:
    """Doubt the posts in this state; return how many."""
    cursor, is_first, found = None, True, []
    while cursor is not None or is_first:
        page, cursor = context.unit.posts(state, None, cursor, PAGE)
        is_first = False
        found += [post for post in page if may_have_gone_out(post, restored)]
    for post in found:
        decision = Decision(
            trigger=Trigger.RESTORE,
            code=RESTORED,
            detail=f"the ledger went back to what it was at {restored.taken_at}: nobody can know whether it was posted "
            "since. tokd never posts it again by itself; look at the account, then use post/resolve",
            wake_at=next_look(State.UNCERTAIN, 0, context.now, context.now, context.policy)
            if post.publish_id
            else None,
        )
        carry_out(decision, post, None, context)
    return len(found)
